"""How long batches take at each speedup: the dial's latency model, and how far it is off on this machine now."""

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from latadj.elimination.dial import Dial

SPEEDUPS_TRIED = 33  # from 1 to the largest that is allowed, each a little larger than the one before
# How many of the last batches of a size say how far predictions are off, and from how many on they do.
REMEMBERED, FEWEST = 256, 8


class PredictedTimes:
    """Seconds of any batch at each of some speedups of a dial.

    A batch's time is predicted by the dial's latency model. How far such predictions are off is measured, for each size
    of a batch apart: before the first one, and with every batch that runs.

    Parameters
    ----------
    dial : marked in latency
    longest : tokens of the longest text
    quantile : share of batches that are to be within ``margin``
    max_speedup : the largest speedup that may be used; None: as far as the dial goes
    max_drop, confident : use no speedup that loses more, see :meth:`latadj.Dial.within`; None: as far as the dial goes
    speedup : use this one alone; None: all of them

    Attributes
    ----------
    speedups, profiles : that predictions are for, by rising speedup
    table : (speedups, longest) seconds of a batch of the measured size, for texts of 1 token and more
    batch : the measured size

    Raises
    ------
    ValueError
        if a number is out of range, the dial is not marked in latency, or its drops were not measured.
    """

    def __init__(
        self,
        dial: Dial,
        longest: int,
        *,
        quantile: float = 0.95,
        max_speedup: float | None = None,
        max_drop: float | None = None,
        confident: bool = False,
        speedup: float | None = None,
    ) -> None:
        if dial.latency is None:
            raise ValueError("a deadline needs a dial that is marked in latency: calibrate this device")
        if not 0 < quantile < 1:
            raise ValueError(f"quantile={quantile}: expected a number above 0 and below 1")
        if max_speedup is not None and max_speedup < 1:
            raise ValueError(f"max_speedup={max_speedup}: expected a number of at least 1")
        self.quantile = quantile
        within = math.inf if max_drop is None else dial.within(max_drop, confident)
        reach = max(min(dial.reach(), max_speedup or math.inf, within), 1.0)
        self.speedups = np.geomspace(1.0, reach, SPEEDUPS_TRIED).tolist() if reach > 1.0 else [1.0]
        if speedup is not None:
            self.speedups = [speedup]
        self.profiles = [dial.profile(one) for one in self.speedups]
        lengths = np.arange(1, longest + 1)
        self.table = np.array([dial.seconds(profile, lengths) for profile in self.profiles])
        self.batch, self._error = dial.latency.batch, dial.latency.error
        # Measured over predicted seconds of the last batches, by size class.
        self._ratios: dict[int, deque[float]] = {}

    @property
    def measured(self) -> bool:
        """Whether any batch said how far predictions are off."""
        return bool(self._ratios)

    def predicted(self, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
        """Seconds that a batch of these lengths takes at each of ``speedups``, by the latency model alone.

        The latency model knows batches of one size and one length. Another batch is predicted as the mean over its
        lengths; of that, what a batch of one-token texts takes is fixed and the rest goes by the number of texts.
        """
        mean = self.table[:, np.minimum(lengths, self.table.shape[1]) - 1].mean(axis=1)
        fixed = self.table[:, 0]
        return fixed + (mean - fixed) * len(lengths) / self.batch

    def ratios(self, size: int) -> Sequence[float]:
        """Measured over predicted seconds of batches of about this size, or the nearest; empty: none ran."""
        own = self._ratios.get(size_class(size), deque())
        if len(own) >= FEWEST:
            return own
        # Of the sizes that ran, those next to it say most.
        known = {one: near for one, near in self._ratios.items() if len(near) >= FEWEST}
        return known[min(known, key=lambda one: abs(one - size_class(size)))] if known else ()

    def margin(self, size: int) -> float:
        """By how much more than predicted a batch of a size takes, at the quantile."""
        ratios = self.ratios(size)
        if not ratios:
            return 1 + 2 * self._error
        # So that a new batch is below it with this probability, and not only those that were seen.
        rank = math.ceil((len(ratios) + 1) * self.quantile)
        return sorted(ratios)[min(rank, len(ratios)) - 1]

    def remember(self, size: int, ratio: float) -> None:
        """Learn from a batch.

        Parameters
        ----------
        ratio : its measured over its predicted seconds
        """
        self._ratios.setdefault(size_class(size), deque(maxlen=REMEMBERED)).append(ratio)


def size_class(size: int) -> int:
    """Sizes of a batch that are alike: 1, 2, 3 and 4, 5 to 8, ..."""
    return (size - 1).bit_length()
