"""Measures how long exported graphs take in their runtime, by whole passes, and fits the latency model to that.

A runtime does not say what each layer took. So the sum over layers is fitted, over passes along many profiles.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.optimize import nnls

from latadj.calibration.latency_fit import SMOOTHNESS, like_lengths, profiles_to_time, spread
from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import WHOLE, LatencyModel, Ramp, level_shares
from latadj.elimination.profiles import Profile
from latadj.runtime.predictor import Predictor
from latadj.runtime.tokens import Encoded

# Ramps of a latency model, in the order of its fields.
_RAMPS = ("entering", "choosing", "leaving", "last", "outside")
# Of each ramp: tokens, and the shares with which its base and what rises on it take part.
Terms = list[list[tuple[float, float, float]]]


def measure_exported(
    predictor: Predictor,
    dial: Dial,
    *,
    batch: int,
    lengths: Sequence[int],
    rounds: int = 7,
    budget_s: float | None = 60.0,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> LatencyModel:
    """The latency model of a folder's graphs on this machine.

    Parameters
    ----------
    dial : in FLOPs; those of its profiles are run that have a graph
    batch, lengths, rounds, budget_s, advance : as in :func:`latadj.calibration.latency_fit.measure`
    """
    profiles = [replace(one, whole_length=0.0) for one in profiles_to_time(dial) if predictor.runs(one)]
    plan = [(like_lengths(length, ragged=batch > 1), profile) for length in spread(lengths) for profile in profiles]
    rng, samples = np.random.default_rng(seed), [list[float]() for _ in plan]
    start = time.perf_counter()
    for turn in range(rounds):
        if turn > 2 and budget_s is not None and time.perf_counter() - start > budget_s:
            break
        for place in rng.permutation(len(plan)):
            like, profile = plan[place]
            texts = [_random_text(rng, like[number % len(like)]) for number in range(batch)]
            before = time.perf_counter()
            predictor.run(texts, profile)
            samples[place].append(time.perf_counter() - before)
        advance()
    seconds = np.array([np.median(times[1:]) for times in samples])  # the first round warms up
    terms = [_terms(dial, profile, like) for like, profile in plan]
    held_out = np.arange(len(plan)) % 4 == 3
    trial = _fit([one for one, out in zip(terms, held_out, strict=True) if not out], seconds[~held_out], batch)
    errors = [abs(_predicted(trial, dial, *plan[place]) / seconds[place] - 1) for place in np.flatnonzero(held_out)]
    error, span = float(np.median(errors)) if errors else 0.0, (min(lengths), max(lengths))
    return replace(_fit(terms, seconds, batch), error=error, lengths=span)


def _random_text(rng: np.random.Generator, length: int) -> Encoded:
    # Which tokens they are does not count, and the first are in every vocabulary.
    return Encoded(rng.integers(0, 5, length).tolist(), [0] * length)


def _predicted(model: LatencyModel, dial: Dial, lengths: Sequence[int], profile: Profile) -> float:
    shares = level_shares(dial.shapes, profile.level)
    return float(model.seconds(profile, np.array(lengths), dial.reads, shares=shares).mean())


def _terms(dial: Dial, profile: Profile, lengths: Sequence[int]) -> Terms:
    """What a pass sees of each ramp, summed up by :func:`_fit`."""
    counts = schedule(profile, np.array(lengths), dial.reads).mean(axis=1)
    shares = level_shares(dial.shapes, profile.level) or [WHOLE] * dial.layers
    terms: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _RAMPS}
    terms["outside"].append((counts[0], 1.0, 1.0))
    for layer, (entering, leaving) in enumerate(shares):
        if (entering, leaving) == (0.0, 0.0):
            continue  # left out
        n_in, n_out = counts[layer], counts[layer + 1]
        if dial.reads == POOLED and layer == dial.layers - 1:
            terms["last"].append((n_in, 1.0, entering))
            continue
        terms["entering"].append((n_in, float(entering > 0), entering))
        if n_out < n_in:
            terms["choosing"].append((n_in, 1.0, 1.0))
        terms["leaving"].append((n_out, float(leaving > 0), leaving))
    return list(terms.values())


def _fit(rows: Sequence[Terms], seconds: np.ndarray, batch: int) -> LatencyModel:
    """The latency model whose sums explain seconds best, in relative error."""
    top = max(tokens for row in rows for terms in row for tokens, _, _ in terms)
    knots = 2.0 ** np.arange(max(1, int(np.ceil(np.log2(max(top, 2))))) + 1)
    columns = []
    for number in range(len(_RAMPS)):
        of_ramp = [row[number] for row in rows]
        columns.append([sum(base for _, base, _ in terms) for terms in of_ramp])
        for low, high in pairwise(knots):
            columns.append(
                [
                    sum(rise * np.clip((tokens - low) / (high - low), 0, 1) for tokens, _, rise in terms)
                    for terms in of_ramp
                ]
            )
    matrix, scale = np.array(columns, dtype=float).T, float(np.median(seconds))
    widths, smooth = np.diff(knots), []
    for start in range(1, matrix.shape[1], len(knots)):
        for step in range(len(widths) - 1):
            # Neighbouring slopes differ little; in seconds over the whole range, so that the units agree.
            row = np.zeros(matrix.shape[1])
            row[start + step], row[start + step + 1] = knots[-1] / widths[step], -knots[-1] / widths[step + 1]
            smooth.append(row * SMOOTHNESS / scale)
    weight = np.sqrt(len(seconds)) / 10
    system = np.concatenate([matrix / seconds[:, None], np.array(smooth).reshape(-1, matrix.shape[1]) * weight])
    solution, _ = nnls(system, np.concatenate([np.ones(len(seconds)), np.zeros(len(smooth))]))
    entering, choosing, leaving, last, outside = (
        Ramp(float(part[0]), tuple(map(float, knots)), tuple(map(float, part[1:])))
        for part in solution.reshape(len(_RAMPS), -1)
    )
    return LatencyModel(batch, entering, choosing, leaving, last, outside)
