"""Measures one device's latency model: passes along many profiles, timed layer by layer, and a monotone fit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import nnls
from transformers import PreTrainedModel

from latadj.benchmark.timer import time_layers
from latadj.elimination.attach import attached
from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import WHOLE, LatencyModel, Ramp, level_shares, scales_of
from latadj.elimination.level_dials import levels_of
from latadj.elimination.profiles import Profile

# FLOPs speedups whose profiles are run: enough that every ratio of leaving to entering is seen.
SAMPLED = (1.25, 1.6, 2.2, 3.0, 4.5, 7.0)
LENGTHS = 4
SMOOTHNESS = 0.02
# Of a measurement, for each ramp: tokens, and the shares with which it takes part, of its base and of what rises on it;
# and seconds.
Row = tuple[list[tuple[float, float, float]], float]


@dataclass
class Pass:
    """One pass of a batch of sequences of like length.

    lengths : of its sequences; as many have each
    seconds : (layers + 1,) median over rounds of each layer, and last the rest of the pass
    shares : of each layer's linear layers, as :func:`latadj.elimination.latency_model.level_shares` gives them
    """

    lengths: tuple[int, ...]
    profile: Profile
    seconds: np.ndarray
    shares: list[tuple[float, float]] | None = None


def measure(
    model: PreTrainedModel,
    dial: Dial,
    *,
    batch: int,
    lengths: Sequence[int],
    device: torch.device,
    rounds: int = 7,
    budget_s: float | None = 60.0,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> LatencyModel:
    """The latency model of a model on this device, lowered or not.

    Parameters
    ----------
    model : with elimination attached
    dial : its profile types give the profiles that are run
    batch, lengths : the workload: sequences a batch, and their lengths
    rounds : times each pass is run, at most; ``budget_s`` seconds end it earlier, but not before the third
    advance : called after each round
    """
    architecture = attached(model).architecture
    plan = [(length, profile) for length in spread(lengths) for profile in profiles_to_time(dial)]
    rng = np.random.default_rng(seed)
    inputs = {
        length: torch.from_numpy(rng.integers(0, model.config.vocab_size, (batch, length))).to(device)
        for length, _ in plan
    }
    # Sorted texts of a batch differ by a token or so, which costs more than its share where layers frame them.
    like = {length: like_lengths(length, ragged=batch > 1 and not architecture.causal) for length in inputs}
    masks = {length: _mask(inputs[length], lengths) for length, lengths in like.items()}
    # Where every layer has maps of its own shape, all passes together have more kernels than oneDNN keeps, and each
    # would find its own gone; where the model serves, they are there.
    uneven = len(set(dial.shapes)) > 1
    samples: list[list[np.ndarray]] = [[] for _ in plan]
    start = time.perf_counter()
    for turn in range(rounds):
        if turn > 2 and budget_s is not None and time.perf_counter() - start > budget_s:
            break
        for place in rng.permutation(len(plan)):
            length, profile = plan[place]
            with torch.inference_mode(), at_profile(model, profile):
                run = partial(architecture.prefill, model, inputs[length], masks[length])
                if uneven:
                    run()
                samples[place].append(time_layers(model, run, device))
        advance()
    # The first round warms up.
    passes = [
        Pass(like[length], profile, np.median(times[1:], axis=0), level_shares(dial.shapes, profile.level))
        for (length, profile), times in zip(plan, samples, strict=True)
    ]
    reads = attached(model).reads
    scales = scales_of(dial.shapes)
    trial = fit([one for place, one in enumerate(passes) if place % 4 != 3], batch, reads, scales)
    errors = [
        abs(trial.seconds(one.profile, np.array(one.lengths), reads, shares=one.shares).mean() / one.seconds.sum() - 1)
        for place, one in enumerate(passes)
        if place % 4 == 3
    ]
    error, span = float(np.median(errors)) if errors else 0.0, (min(lengths), max(lengths))
    return replace(fit(passes, batch, reads, scales), error=error, lengths=span)


def like_lengths(length: int, *, ragged: bool) -> tuple[int, ...]:
    """The lengths of a batch of like texts, of which the longest has so many tokens."""
    return (length - 1, length) if ragged and length > 2 else (length,)


def _mask(inputs: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor | None:
    """(batch, n) 1 on the tokens of sequences that have each length in turn; None where all have one."""
    if len(lengths) == 1:
        return None
    of_each = torch.tensor([lengths[place % len(lengths)] for place in range(len(inputs))], device=inputs.device)
    return (torch.arange(inputs.shape[1], device=inputs.device) < of_each[:, None]).long()


def fit(passes: Sequence[Pass], batch: int, reads: str, scales: tuple[tuple[float, float], ...] = ()) -> LatencyModel:
    """The latency model that explains passes best, in relative error.

    Parameters
    ----------
    batch : sequences in each pass
    reads : ``pooled`` or ``all``
    scales : as in :class:`~latadj.elimination.latency_model.LatencyModel`
    """
    rows: list[Row] = []
    last_rows: list[Row] = []
    rest_rows: list[Row] = []
    for one in passes:
        counts = schedule(one.profile, np.array(one.lengths), reads).mean(axis=1)
        layers = len(counts) - 1
        shares, each = one.shares or [WHOLE] * layers, scales or (WHOLE,) * layers
        for layer in range(layers):
            if shares[layer] == (0.0, 0.0):
                continue  # left out
            n_in, n_out = counts[layer], counts[layer + 1]
            (enters, leaves), (entering, leaving), seconds = each[layer], shares[layer], one.seconds[layer]
            if reads == POOLED and layer == layers - 1:
                last_rows.append(([(n_in, 1.0, entering)], seconds))
                continue
            chosen = float(n_out < n_in)
            terms = [(n_in, enters * (entering > 0), enters * entering), (n_in, chosen, chosen)]
            rows.append(([*terms, (n_out, leaves * (leaving > 0), leaves * leaving)], seconds))
        rest_rows.append(([(counts[0], 1.0, 1.0)], one.seconds[-1]))
    entering_ramp, choosing, leaving_ramp = _ramps(rows)
    (trimmed_layer,) = _ramps(last_rows) if last_rows else (leaving_ramp,)
    (rest,) = _ramps(rest_rows)
    return LatencyModel(batch, entering_ramp, choosing, leaving_ramp, trimmed_layer, rest, scales=scales)


def _ramps(rows: Sequence[Row]) -> list[Ramp]:
    """Ramps whose sum explains seconds best.

    Parameters
    ----------
    rows : of each measurement a term for each ramp, and its seconds
    """
    terms, seconds = np.array([row for row, _ in rows], dtype=float), np.array([taken for _, taken in rows])
    columns, smooth, knots = [], [], []
    for counts, base, rise in terms.transpose(1, 2, 0):
        at = _knots(counts)
        knots.append(at)
        columns.append(base)
        columns += [rise * np.clip((counts - low) / (high - low), 0, 1) for low, high in pairwise(at)]
    matrix = np.stack(columns, axis=1)
    scale = float(np.median(seconds))
    place = 1
    for at in knots:
        widths = np.diff(at)
        for step in range(len(widths) - 1):
            # Neighbouring slopes differ little; in seconds over the whole range, so that the units agree.
            row = np.zeros(matrix.shape[1])
            row[place + step], row[place + step + 1] = at[-1] / widths[step], -at[-1] / widths[step + 1]
            smooth.append(row * SMOOTHNESS / scale)
        place += len(at)
    weighted = matrix / seconds[:, None]
    system = np.concatenate([weighted, np.array(smooth).reshape(-1, matrix.shape[1]) * np.sqrt(len(seconds)) / 10])
    solution, _ = nnls(system, np.concatenate([np.ones(len(seconds)), np.zeros(len(smooth))]))
    ramps, place = [], 0
    for at in knots:
        size = len(at)
        ramps.append(
            Ramp(float(solution[place]), tuple(map(float, at)), tuple(map(float, solution[place + 1 : place + size])))
        )
        place += size
    return ramps


def _knots(counts: np.ndarray) -> np.ndarray:
    """Powers of two from 1 past the largest count; at least two."""
    top = max(1, int(np.ceil(np.log2(max(int(counts.max()), 2)))))
    return 2.0 ** np.arange(top + 1)


def spread(lengths: Sequence[int]) -> list[int]:
    """A few lengths that represent all."""
    if len(set(lengths)) <= LENGTHS:
        return sorted(set(lengths))
    return sorted({round(value) for value in np.quantile(np.asarray(lengths), np.linspace(0.02, 0.98, LENGTHS))})


def profiles_to_time(dial: Dial) -> list[Profile]:
    """Profiles of every profile_type that the dial has, from none to the deepest."""
    flops = replace(dial, latency=None, max_speedup=max(SAMPLED))
    profiles = [Profile.full(dial.layers)]
    for profile_type in ("geometric", "acc", *(("searched",) if dial.anchors else ())):
        for speedup in SAMPLED:
            try:
                profiles.append(flops.with_profile_type(profile_type).profile(speedup))
            except ValueError:  # short texts end early
                break
    # Levels beside few and many tokens, so that width is told from length.
    narrow = [*dial.levels, *levels_of(dial, dial.widths)]
    profiles += [
        replace(profiles[(2 * place) % len(profiles)] if place % 2 else profiles[0], level=level)
        for place, level in enumerate(narrow)
    ]
    return list(dict.fromkeys(profiles))
