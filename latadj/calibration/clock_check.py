"""Checks a latency model against whole passes of batches as they come: what of a predicted saving does a clock confirm?

A latency model is fitted to passes of texts of like length, layer by layer, and a search takes the settings that it
flatters. Both make it promise more than a clock shows; whole passes of the very settings say how much.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.benchmark.timer import time_interleaved
from latadj.elimination.attach import attached
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import MOST_UNSAVED, LatencyModel
from latadj.elimination.level_dials import with_levels
from latadj.elimination.profiles import Profile

# Speedups in FLOPs at which a dial is checked that has no searched profiles.
CHECKED = (1.6, 2.2, 3.0, 4.5, 7.0)
MOST_BATCHES = 12
# So many texts are sorted into batches: neighbours in it differ by a token or so, as they do where a clock is used.
TEXTS = 2048
WARMUP = 2


def checked(
    model: PreTrainedModel,
    dial: Dial,
    latency: LatencyModel,
    *,
    lengths: Sequence[int],
    rounds: int = 5,
    budget_s: float | None = 30.0,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> LatencyModel:
    """A latency model that counts only what passes confirm of the time that its dial's settings are to save.

    Parameters
    ----------
    model : attached, as it serves, with the levels of the dial
    dial : its searched profiles are run, or else some of its profile type
    latency : as it was fitted
    lengths : of the texts; batches hold neighbours by length
    rounds : times each batch is run, at most; ``budget_s`` seconds end it earlier, but not before the third
    advance : called after each round
    """
    marked = replace(dial, latency=replace(latency, unsaved=0.0))
    full, profiles = Profile.full(dial.layers), _profiles(dial)
    batches = _batches(lengths, latency.batch, causal=attached(model).architecture.causal)
    expected = np.array([_seconds(marked, profile, batches) for profile in (full, *profiles)])
    if not profiles or not (expected[1:] < expected[0]).any():
        return latency
    rng = np.random.default_rng(seed)
    inputs = [_inputs(batch, int(model.config.vocab_size), rng, model.device) for batch in batches]
    times = time_interleaved(
        {
            str(place): [partial(_run, model, profile, *one) for one in inputs]
            for place, profile in enumerate((full, *profiles))
        },
        rounds=rounds,
        warmup=WARMUP,
        device=model.device,
        seed=seed,
        advance=advance,
        budget_s=budget_s,
    )
    found = np.array([np.median(times[str(place)], axis=0).sum() for place in range(len(expected))])
    share, clocked = expected[1:] / expected[0], found[1:] / found[0]
    # Least squares of the relative error: clocked = share + unsaved * (1 - share).
    saved = (1 - share) / clocked
    unsaved = float((saved * (clocked - share) / clocked).sum() / (saved**2).sum())
    return replace(latency, unsaved=float(np.clip(unsaved, -MOST_UNSAVED, MOST_UNSAVED)))


def _profiles(dial: Dial) -> list[Profile]:
    if dial.profile_type == "searched":
        return [anchor.profile for anchor in dial.anchors]
    flops = replace(dial, latency=None, anchors=(), max_speedup=max(CHECKED))
    if flops.widths:
        return [anchor.profile for anchor in with_levels(flops, CHECKED).anchors]
    return [flops.profile(speedup) for speedup in CHECKED if flops.reaches(speedup)]


def _batches(lengths: Sequence[int], size: int, *, causal: bool) -> list[np.ndarray]:
    """Lengths of the texts of some batches, neighbours by length; of a decoder's prompts all as long as the longest."""
    ordered = np.sort(np.asarray(lengths))
    # A few lengths stand for many texts.
    ordered = np.repeat(ordered, -(-max(TEXTS, size) // len(ordered)))
    starts = np.unique(np.linspace(0, len(ordered) - size, min(MOST_BATCHES, len(ordered) // size)).astype(int))
    batches = [ordered[start : start + size] for start in starts]
    return [np.full(size, batch.max()) for batch in batches] if causal else batches


def _seconds(dial: Dial, profile: Profile, batches: Sequence[np.ndarray]) -> float:
    """Predicted seconds of all batches: of each the mean over its lengths."""
    return sum(float(dial.seconds(profile, batch).mean()) for batch in batches)


def _inputs(
    lengths: np.ndarray, vocabulary: int, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Random texts of these lengths, and their mask; None where all have one length."""
    width = int(lengths.max())
    ids = torch.from_numpy(rng.integers(0, vocabulary, (len(lengths), width))).to(device)
    if int(lengths.min()) == width:
        return ids, None
    return ids, torch.from_numpy(np.arange(width) < lengths[:, None]).long().to(device)


def _run(model: PreTrainedModel, profile: Profile, ids: Tensor, mask: Tensor | None) -> object:
    with torch.inference_mode(), at_profile(model, profile):
        return attached(model).architecture.prefill(model, ids, mask)
