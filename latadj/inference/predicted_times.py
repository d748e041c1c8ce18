"""How long batches take at each speedup: the dial's latency model, and how far it is off on this machine now."""

import math
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.elimination.attach import attached, dial_of
from latadj.elimination.current_setting import at_profile

SPEEDUPS_TRIED = 33  # from 1 to the largest that is allowed, each a little larger than the one before
# How many of the last batches of a size say how far predictions are off, and from how many on they do.
REMEMBERED, FEWEST = 256, 8
# Tokens of the longest text, where neither the caller nor the model says it.
LONGEST = 512


class PredictedTimes:
    """Seconds of any batch at each of some speedups of a model's dial.

    A batch's time is predicted by the dial's latency model. How far such predictions are off is measured, for each size
    of a batch apart: before the first one, and with every batch that runs.

    Parameters
    ----------
    model : attached, its dial marked in latency, as :func:`latadj.load` gives it on a calibrated device
    quantile : share of batches that are to be within ``margin``
    max_speedup : the largest speedup that may be used; None: as far as the dial goes
    max_drop, confident : use no speedup that loses more, see :meth:`latadj.Dial.within`; None: as far as the dial goes
    longest : tokens of the longest text; None: what the model reads
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
        model: PreTrainedModel,
        *,
        quantile: float = 0.95,
        max_speedup: float | None = None,
        max_drop: float | None = None,
        confident: bool = False,
        longest: int | None = None,
        speedup: float | None = None,
    ) -> None:
        dial = dial_of(model)
        if dial.latency is None:
            raise ValueError("a deadline needs a dial that is marked in latency: calibrate this device")
        if not 0 < quantile < 1:
            raise ValueError(f"quantile={quantile}: expected a number above 0 and below 1")
        if max_speedup is not None and max_speedup < 1:
            raise ValueError(f"max_speedup={max_speedup}: expected a number of at least 1")
        self.model, self.quantile = model, quantile
        within = math.inf if max_drop is None else dial.within(max_drop, confident)
        reach = max(min(dial.reach(), max_speedup or math.inf, within), 1.0)
        self.speedups = np.geomspace(1.0, reach, SPEEDUPS_TRIED).tolist() if reach > 1.0 else [1.0]
        if speedup is not None:
            self.speedups = [speedup]
        self.profiles = [dial.profile(one) for one in self.speedups]
        longest = longest or int(getattr(model.config, "max_position_embeddings", LONGEST))
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

    def warm_up(self, lengths: Sequence[int], most: int = 32, budget_s: float = 3.0) -> None:
        """Measure how far predictions are off, over random texts of the shortest, the median and the longest length.

        Parameters
        ----------
        lengths : tokens of texts that stand for those to come
        most : texts of a batch, at most
        budget_s : seconds for all of it; each size is measured twice anyway
        """
        prefill, vocabulary = attached(self.model).architecture.prefill, int(self.model.config.vocab_size)
        sizes = [2**power for power in range(most.bit_length())]
        spread = sorted({int(length) for length in np.quantile(lengths, (0.0, 0.5, 1.0), method="nearest")})
        places = sorted({0, len(self.profiles) // 2, len(self.profiles) - 1})
        rng = np.random.default_rng(0)
        start, turn = time.perf_counter(), 0
        while turn < 2 or (time.perf_counter() - start < budget_s and turn < 4 * FEWEST):
            for size in sizes:
                length, place = int(rng.choice(spread)), int(rng.choice(places))
                ids = torch.from_numpy(rng.integers(0, vocabulary, (size, length))).to(self.model.device)
                with torch.inference_mode(), at_profile(self.model, self.profiles[place]):
                    prefill(self.model, ids)  # kernels for a new shape are made once
                    before = time.perf_counter()
                    prefill(self.model, ids)
                    if ids.is_cuda:
                        torch.cuda.synchronize()
                    took = time.perf_counter() - before
                self.remember(size, took / float(self.predicted([length] * size)[place]))
            turn += 1

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
