"""Times contestants in turn on the same work, so that a machine's moods hit all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

Work = Sequence[Callable[[], object]]


@dataclass
class Interval:
    """A median with its 95% interval."""

    median: float
    low: float
    high: float


def take_turns(
    contestants: Mapping[str, Work],
    *,
    rounds: int,
    warmup: int,
    device: torch.device,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, np.ndarray]:
    """Time every piece of work of every contestant, round by round.

    Within a round the contestants alternate piece by piece, in an order drawn anew for each piece, so that none
    always runs in the wake of the same other.

    Parameters
    ----------
    contestants : name -> pieces of work (a batch each), the same number for all
    rounds, warmup : rounds that count, and rounds before them that do not
    advance : called after each round

    Returns
    -------
    name -> (rounds, pieces) seconds
    """
    names = list(contestants)
    pieces = {len(work) for work in contestants.values()}
    if len(pieces) != 1:
        raise ValueError(f"contestants need the same number of pieces of work, got {sorted(pieces)}")
    count = pieces.pop()
    seconds = {name: np.zeros((rounds + warmup, count)) for name in names}
    order = np.random.default_rng(seed)
    for turn in range(rounds + warmup):
        for piece in range(count):
            for name in order.permutation(names):
                seconds[name][turn, piece] = time_once(contestants[name][piece], device)
        advance()
    return {name: values[warmup:] for name, values in seconds.items()}


def time_once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that one piece of work takes, with the device's queue empty before and after."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def speedup(baseline: np.ndarray, ours: np.ndarray, seed: int = 0) -> Interval:
    """Median over rounds of the baseline's time over ours, with a bootstrap 95% interval.

    Parameters
    ----------
    baseline, ours : (rounds, pieces) seconds, measured in turns
    """
    ratios = baseline.sum(axis=1) / ours.sum(axis=1)
    draws = np.random.default_rng(seed).choice(ratios, size=(5000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return Interval(float(np.median(ratios)), float(low), float(high))


def percentiles_ms(seconds: np.ndarray, which: Sequence[int] = (50, 95)) -> dict[str, float]:
    """Percentiles in milliseconds by name, ``p50`` and so on."""
    return {f"p{q}": float(np.percentile(seconds, q) * 1000) for q in which}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
