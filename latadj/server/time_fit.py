"""How long batches take, fitted to what a clock showed: the call, and each text, at every speedup."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latadj.inference.predicted_times import size_class

# From so many batches of a size on, they say how far its predictions are off.
FEWEST = 3


@dataclass(frozen=True)
class TimedBatch:
    """A batch that was timed.

    place : of its speedup
    lengths : tokens of its texts
    """

    place: int
    lengths: Sequence[int]
    seconds: float


@dataclass(frozen=True)
class BatchTimes:
    """What batches take: ``call[place] + sum(text[place, length - 1])``, times the level of the batch's size.

    levels : size class -> factor
    spread : mean relative deviation of a batch from this
    """

    call: np.ndarray
    text: np.ndarray
    levels: dict[int, float]
    spread: float

    @classmethod
    def predicted(cls, table: np.ndarray, batch: int) -> "BatchTimes":
        """By the latency model alone, see :class:`latadj.inference.predicted_times.PredictedTimes`."""
        return cls(table[:, 0], (table - table[:, :1]) / batch, {}, 0.05)

    def seconds(self, place: int, lengths: Sequence[int]) -> float:
        """Of a batch."""
        columns = np.minimum(lengths, self.text.shape[1]) - 1
        factor = self.levels.get(size_class(len(lengths)), 1.0)
        return factor * float(self.call[place] + self.text[place, columns].sum())

    def fitted(self, timed: Sequence[TimedBatch]) -> "BatchTimes":
        """The same, with the call and the size of the rest as the clock shows them.

        The latency model was measured with batches of one size, and says how long a text takes beside another. What a
        call takes, and what a text of a small batch takes, is only seen in batches of several sizes.
        """
        places = sorted({one.place for one in timed})
        if not places:
            return self
        calls, factors = zip(
            *(self._line([one for one in timed if one.place == place]) for place in places), strict=True
        )
        everywhere = np.arange(len(self.call))
        call = np.interp(everywhere, places, calls)
        text = self.text * np.interp(everywhere, places, factors)[:, None]
        plain = BatchTimes(call, text, {}, self.spread)
        off: dict[int, list[float]] = {}
        for one in timed:
            ratio = math.log(one.seconds / plain.seconds(one.place, one.lengths))
            off.setdefault(size_class(len(one.lengths)), []).append(ratio)
        levels = {size: float(np.exp(np.median(ratios))) for size, ratios in off.items() if len(ratios) >= FEWEST}
        apart = [abs(ratio - np.median(ratios)) for ratios in off.values() if len(ratios) >= FEWEST for ratio in ratios]
        return BatchTimes(call, text, levels, float(np.mean(apart)) if apart else self.spread)

    def _line(self, timed: Sequence[TimedBatch]) -> tuple[float, float]:
        """What the call takes at a place, and the factor of the rest, with the least relative error."""
        seconds = np.array([one.seconds for one in timed])
        columns = [np.minimum(one.lengths, self.text.shape[1]) - 1 for one in timed]
        texts = np.array([self.text[one.place, own].sum() for one, own in zip(timed, columns, strict=True)])
        (call, factor), *_ = np.linalg.lstsq(np.stack([1 / seconds, texts / seconds], axis=1), np.ones(len(timed)))
        if call < 0 or factor <= 0:  # batches of one size tell nothing of the call
            call = min(float(self.call[timed[0].place]), float(seconds.min()))
            factor = float(np.median(np.maximum(seconds - call, 0) / texts))
        return float(call), float(factor)

    def together(self, others: Sequence["BatchTimes"]) -> "BatchTimes":
        """The mean of this and others, of the same speedups."""
        every = [self, *others]
        sizes = {size for one in every for size in one.levels}
        return BatchTimes(
            np.mean([one.call for one in every], axis=0),
            np.mean([one.text for one in every], axis=0),
            {size: float(np.mean([one.levels[size] for one in every if size in one.levels])) for size in sizes},
            float(np.mean([one.spread for one in every])),
        )
