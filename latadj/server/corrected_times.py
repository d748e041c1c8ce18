"""Seconds of a batch as the clock shows them now: a core that is taken away is noticed within a few batches."""

import math
from collections import deque
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Protocol

from latadj.inference.predicted_times import size_class
from latadj.server.time_fit import BatchTimes

# How far the correction goes towards what a batch showed: fast where batches got slower, since then answers are late.
SLOWER, FASTER = 0.7, 0.4
# The middle one of so many batches is believed, so that one or two that were held up are not.
BELIEVED = 5
# How fast sizes of batches are told apart, and how fast the spread is learnt.
BY_SIZE, SPREAD = 0.02, 0.1
# A batch takes longer than typical by twice the mean deviation once in twenty times or so; no more is held back.
DEVIATIONS, WIDEST = 2.0, math.log(1.5)
# Nobody knows how busy a machine is where nothing runs: after so many seconds the correction halves in as many more.
QUIET_S = 0.1
SIZES = 20  # classes of batch sizes: up to half a million texts


class Times(Protocol):
    """What the scheduler asks of a clock; a *place* is a place among ``speedups``."""

    @property
    def speedups(self) -> Sequence[float]:
        """Rising."""

    @property
    def correction(self) -> float:
        """How many times as long as usual batches take now."""

    def call(self, place: int) -> float:
        """Seconds of a batch that do not go by its texts."""

    def text(self, place: int, length: int) -> float:
        """Seconds that a text adds."""

    def factor(self, size: int) -> float:
        """What these are multiplied by for a batch of so many texts that most such batches are within."""

    def typical(self, size: int) -> float:
        """What they are multiplied by for a batch that takes as long as usual."""

    def observe(self, place: int, lengths: Sequence[int], seconds: float, now: float) -> None:
        """Learn from a batch that ran."""

    def settle(self, now: float) -> None:
        """Forget what is no longer known."""


class CorrectedTimes:
    """A latency model's predictions, corrected by what batches took.

    Parameters
    ----------
    speedups : rising
    times : what batches take as a rule
    """

    def __init__(self, speedups: Sequence[float], times: BatchTimes) -> None:
        self._speedups = list(speedups)
        self._call: list[float] = times.call.tolist()
        self._text: list[list[float]] = times.text.tolist()
        # A size that was not timed is like the nearest that was.
        known = times.levels or {0: 1.0}
        self._levels = [math.log(known[min(known, key=partial(_apart, size))]) for size in range(SIZES)]
        self._deviation = times.spread
        self._drift, self._seen = 0.0, -math.inf
        self._recent: deque[float] = deque(maxlen=BELIEVED)

    @property
    def speedups(self) -> Sequence[float]:
        return self._speedups

    @property
    def correction(self) -> float:
        return math.exp(self._drift)

    def call(self, place: int) -> float:
        return self._call[place]

    def text(self, place: int, length: int) -> float:
        seconds = self._text[place]
        return seconds[length - 1] if length <= len(seconds) else seconds[-1]

    def typical(self, size: int) -> float:
        return math.exp(self._levels[size_class(size)] + self._drift)

    def factor(self, size: int) -> float:
        return self.typical(size) * math.exp(min(DEVIATIONS * self._deviation, WIDEST))

    def observe(self, place: int, lengths: Sequence[int], seconds: float, now: float) -> None:
        predicted = self.call(place) + sum(self.text(place, length) for length in lengths)
        size = size_class(len(lengths))
        ratio = math.log(seconds / predicted) - self._levels[size]
        self._recent.append(ratio)
        gap = median(self._recent) - self._drift
        self._drift += (SLOWER if gap > 0 else FASTER) * gap
        off = ratio - self._drift
        self._deviation += SPREAD * (abs(off) - self._deviation)
        self._levels[size] += BY_SIZE * min(max(off, -WIDEST), WIDEST)
        self._seen = now

    def settle(self, now: float) -> None:
        quiet = now - self._seen - QUIET_S
        if quiet > 0 and math.isfinite(quiet):
            self._drift *= 0.5 ** (quiet / QUIET_S)
            self._recent.clear()
            self._seen = now - QUIET_S


def _apart(size: int, other: int) -> int:
    return abs(size - other)
