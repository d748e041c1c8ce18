"""Times variants in turn on the same work, so that a machine's moods hit all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import distinct_layers

FEWEST_ROUNDS = 3  # fewer say nothing about the spread
STEADY_ROUNDS, STEADY = 3, 0.05


@dataclass(frozen=True)
class PreparedWork:
    """A piece of work that uses up what it works on: ``prepare`` makes that anew each time, untimed, for ``run``."""

    prepare: Callable[[], Any]
    run: Callable[[Any], object]


Work = Sequence[Callable[[], object] | PreparedWork]


@dataclass
class Interval:
    """A median with its 95% interval."""

    median: float
    low: float
    high: float


def time_interleaved(
    variants: Mapping[str, Work],
    *,
    rounds: int,
    warmup: int,
    device: torch.device,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
    budget_s: float | None = None,
    settle: bool = False,
) -> dict[str, np.ndarray]:
    """Time every piece of work of every variant, round by round.

    Within a round the variants alternate piece by piece, in an order drawn anew for each piece, so that none
    always runs in the wake of the same other.

    Parameters
    ----------
    variants : name -> pieces of work (a batch each), the same number for all; of a ``PreparedWork`` piece only
        its ``run`` is timed
    rounds : rounds that count, at most
    warmup : rounds before them that do not, at most; warming up ends once every variant is steady
    advance : called after each round, and at the end for each round that was spared
    budget_s : seconds for all of it; the round that exceeds them is the last, but ``FEWEST_ROUNDS`` count anyway
    settle : run each piece once untimed before it is timed, so that what another variant left running (the
        spinning threads of another runtime's pool, say) has come to rest; takes twice as long

    Returns
    -------
    name -> (rounds that count, pieces) seconds

    Raises
    ------
    ValueError
        if variants have different numbers of pieces.
    """
    names = list(variants)
    pieces = {len(work) for work in variants.values()}
    if len(pieces) != 1:
        raise ValueError(f"variants need the same number of pieces of work, got {sorted(pieces)}")
    count = pieces.pop()
    watch, order = stopwatch(device), np.random.default_rng(seed)
    start = time.perf_counter()

    def one_round() -> np.ndarray:
        seconds = np.zeros((len(names), count))
        for piece in range(count):
            for place in order.permutation(len(names)):
                work = variants[names[place]][piece]
                if settle:
                    _runnable(work)()
                seconds[place, piece] = watch.time(_runnable(work))
        advance()
        return seconds

    def late() -> bool:
        return budget_s is not None and time.perf_counter() - start > budget_s

    warm: list[np.ndarray] = []
    while len(warm) < warmup and not _steady(warm) and not (warm and late()):
        warm.append(one_round())
    counted: list[np.ndarray] = []
    while len(counted) < rounds and not (len(counted) >= FEWEST_ROUNDS and late()):
        counted.append(one_round())
    for _ in range(warmup - len(warm) + rounds - len(counted)):
        advance()
    seconds = np.array(counted).reshape(-1, len(names), count)
    return {name: seconds[:, place] for place, name in enumerate(names)}


def _runnable(work: Callable[[], object] | PreparedWork) -> Callable[[], object]:
    """A piece of work that can be run at once."""
    return partial(work.run, work.prepare()) if isinstance(work, PreparedWork) else work


def _steady(rounds: Sequence[np.ndarray]) -> bool:
    """Whether each variant's last rounds took the same time, give or take ``STEADY``; each (variants, pieces)."""
    if len(rounds) < STEADY_ROUNDS:
        return False
    sums = np.array(rounds[-STEADY_ROUNDS:]).sum(axis=2)
    return bool(np.all(np.ptp(sums, axis=0) <= STEADY * sums.min(axis=0)))


def time_once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that one piece of work takes, with the device's queue empty before and after."""
    return stopwatch(device).time(work)


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


class Stopwatch:
    """Wall-clock seconds, with the device's queue empty before and after."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def time(self, work: Callable[[], object]) -> float:
        """Seconds that ``work`` takes."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Return once the device has done all it was given."""
        if self.device.type == "mps":
            torch.mps.synchronize()


class EventStopwatch(Stopwatch):
    """Seconds between two events on a CUDA device's own clock.

    The events lie on PyTorch's current stream: work on another stream (another runtime's, say) has to wait for it
    before it returns, or its end is missed.

    Parameters
    ----------
    cuda : ``torch.cuda``, or what stands for it
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        super().__init__(device)
        self._cuda = cuda

    def time(self, work: Callable[[], object]) -> float:
        """Seconds that ``work`` takes, launching it included: the first event passes an empty queue at once."""
        start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        # Without a stream, an event goes to the device that is current, which need not be this one.
        stream = self._cuda.current_stream(self.device)
        self.wait()
        start.record(stream)
        work()
        end.record(stream)
        self.wait()
        return float(start.elapsed_time(end)) / 1000

    def wait(self) -> None:
        self._cuda.synchronize(self.device)


def stopwatch(device: torch.device) -> Stopwatch:
    """The stopwatch that suits a device."""
    return EventStopwatch(device) if device.type == "cuda" else Stopwatch(device)


def time_layers(model: PreTrainedModel, run: Callable[[], object], device: torch.device) -> np.ndarray:
    """Seconds of one pass, layer by layer.

    Parameters
    ----------
    run : runs the model once

    Returns
    -------
    (layers + 1,) seconds of each layer, and last the rest of the pass: embeddings, head and calls
    """
    layers = distinct_layers(model)  # one that runs again is timed each time
    watch = stopwatch(device)
    entered: list[float] = []
    left: list[float] = []

    def mark(times: list[float]) -> Callable[..., None]:
        def hook(module: nn.Module, *args: Any) -> None:
            watch.wait()  # layer by layer a GPU never runs ahead, so its short layers look longer than they are
            times.append(time.perf_counter())

        return hook

    hooks = [layer.register_forward_pre_hook(mark(entered)) for layer in layers]
    hooks += [layer.register_forward_hook(mark(left)) for layer in layers]
    try:
        total = watch.time(run)
    finally:
        for hook in hooks:
            hook.remove()
    each = np.array(left) - np.array(entered)
    return np.append(each, total - each.sum())
