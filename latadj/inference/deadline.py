"""Runs a model within a deadline: picks, batch by batch, how many texts and which speedup meet it."""

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.elimination.attach import attached, dial_of
from latadj.elimination.current_setting import at_profile
from latadj.inference.deadline_counts import DeadlineCounts

log = logging.getLogger("latadj")
SPEEDUPS_TRIED = 33  # from 1 to the largest that is allowed, each a little larger than the one before
# A larger batch is taken where it needs a speedup so many times as large as the smallest that any batch needs.
NEAR = 1.05
# How many of the last batches of a size say how far predictions are off, and from how many on they do.
REMEMBERED, FEWEST = 256, 8
# Tokens of the longest text, where neither the caller nor the model says it.
LONGEST = 512


class Deadline:
    """Runs a model within a deadline, which holds for each text: what it waits for is its batch.

    A batch's time is predicted by the dial's latency model. How far such predictions are off is measured, for each size
    of a batch apart: before the first one, and with every batch that runs. So a batch is large enough and its speedup
    small enough that ``quantile`` of such batches meet the deadline.

    >>> deadline = latadj.Deadline(model, ms=20)
    >>> for places in deadline.batches(lengths):
    ...     with deadline([lengths[place] for place in places]):
    ...         model(**pad(places))

    Parameters
    ----------
    model : attached, its dial marked in latency, as :func:`latadj.load` gives it on a calibrated device
    ms : milliseconds that a batch may take
    quantile : share of batches that are to meet it
    max_speedup : the largest speedup that may be used; None: as far as the dial goes
    max_drop, confident : use no speedup that loses more, see :meth:`latadj.Dial.within`; None: as far as the dial goes
    longest : tokens of the longest text; None: what the model reads
    counts : what an interrupted run counted

    Attributes
    ----------
    counts : how often the deadline was met

    Raises
    ------
    ValueError
        if a number is out of range, the dial is not marked in latency, or its drops were not measured.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        ms: float,
        *,
        quantile: float = 0.95,
        max_speedup: float | None = None,
        max_drop: float | None = None,
        confident: bool = False,
        longest: int | None = None,
        counts: DeadlineCounts | None = None,
    ) -> None:
        dial = dial_of(model)
        if dial.latency is None:
            raise ValueError("a deadline needs a dial that is marked in latency: calibrate this device")
        if not ms > 0:
            raise ValueError(f"ms={ms}: expected a number above 0")
        if not 0 < quantile < 1:
            raise ValueError(f"quantile={quantile}: expected a number above 0 and below 1")
        if max_speedup is not None and max_speedup < 1:
            raise ValueError(f"max_speedup={max_speedup}: expected a number of at least 1")
        self.model, self.seconds, self.quantile = model, ms / 1000, quantile
        self.counts = counts or DeadlineCounts()
        within = math.inf if max_drop is None else dial.within(max_drop, confident)
        reach = max(min(dial.reach(), max_speedup or math.inf, within), 1.0)
        self.speedups = np.geomspace(1.0, reach, SPEEDUPS_TRIED).tolist() if reach > 1.0 else [1.0]
        self.profiles = [dial.profile(speedup) for speedup in self.speedups]
        # Seconds of a batch of the measured size, for texts of 1 to `longest` tokens.
        longest = longest or int(getattr(model.config, "max_position_embeddings", LONGEST))
        lengths = np.arange(1, longest + 1)
        self._table = np.array([dial.seconds(profile, lengths) for profile in self.profiles])
        self._batch, self._error = dial.latency.batch, dial.latency.error
        # Measured over predicted seconds of the last batches, by size class.
        self._ratios: dict[int, deque[float]] = {}

    def predicted(self, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
        """Seconds that a batch of these lengths takes at each of ``speedups``, by the latency model alone.

        The latency model knows batches of one size and one length. Another batch is predicted as the mean over its
        lengths; of that, what a batch of one-token texts takes is fixed and the rest goes by the number of texts.
        """
        mean = self._table[:, np.minimum(lengths, self._table.shape[1]) - 1].mean(axis=1)
        fixed = self._table[:, 0]
        return fixed + (mean - fixed) * len(lengths) / self._batch

    def margin(self, size: int) -> float:
        """By how much more than predicted a batch of a size takes, at the quantile."""
        ratios = self._ratios.get(_size_class(size), deque())
        if len(ratios) < FEWEST:
            # Of the sizes that ran, those next to it say most.
            known = {one: near for one, near in self._ratios.items() if len(near) >= FEWEST}
            if not known:
                return 1 + 2 * self._error
            ratios = known[min(known, key=lambda one: abs(one - _size_class(size)))]
        # So that a new batch is below it with this probability, and not only those that were seen.
        rank = math.ceil((len(ratios) + 1) * self.quantile)
        return sorted(ratios)[min(rank, len(ratios)) - 1]

    def needed(self, lengths: Sequence[int] | np.ndarray) -> int | None:
        """Place in ``speedups`` of the smallest with which a batch meets the deadline; None if none does."""
        in_time = np.flatnonzero(self.predicted(lengths) * self.margin(len(lengths)) <= self.seconds)
        return int(in_time[0]) if len(in_time) else None

    def fastest(self, length: int) -> float:
        """Seconds of the fastest pass over one text of so many tokens, at the quantile."""
        return float(self.predicted([length])[-1] * self.margin(1))

    def batches(self, lengths: Sequence[int], most: int = 32) -> Iterator[np.ndarray]:
        """Divide texts into batches of like length that meet the deadline, shortest first.

        Few texts run at a time rather than at a large speedup: accuracy comes first. Each batch is decided when it is
        asked for, by all that ran until then. The first call warms up for some seconds, see :meth:`warm_up`, and warns
        if the deadline cannot be met.

        Parameters
        ----------
        lengths : tokens of each text
        most : texts of a batch, at most

        Returns
        -------
        places of each batch's texts
        """
        if not self._ratios and len(lengths):
            self.warm_up(lengths, most)
            self._say_what_is_possible(lengths)
        order = np.argsort(lengths, kind="stable")
        ordered = np.asarray(lengths)[order]
        start = 0
        while start < len(order):
            size = self._size(ordered[start:], most)
            yield order[start : start + size]
            start += size

    def _say_what_is_possible(self, lengths: Sequence[int]) -> None:
        fastest = np.array([self.fastest(length) for length in np.unique(lengths)])
        late = np.unique(lengths)[fastest > self.seconds]
        if len(late):
            share = np.isin(lengths, late).mean()
            log.warning(
                "a deadline of %.4g ms cannot be met for texts of %d tokens and more, %.0f%% of the texts: alone and "
                "at %.2fx such a text takes %.4g ms; allow as much, or a larger max_speedup or max_drop",
                *(1000 * self.seconds, late[0], 100 * share, self.speedups[-1], 1000 * self.fastest(int(late[0]))),
            )

    def _size(self, lengths: np.ndarray, most: int) -> int:
        """Texts of the next batch, the first of those that are left; one where none meets the deadline."""
        sizes = [min(most, len(lengths))]
        while sizes[-1] > 1:
            sizes.append((sizes[-1] + 1) // 2)
        found = [(size, self.speedups[place]) for size in sizes if (place := self.needed(lengths[:size])) is not None]
        least = min((speedup for _, speedup in found), default=None)
        return 1 if least is None else next(size for size, speedup in found if speedup <= NEAR * least)

    @contextmanager
    def __call__(self, lengths: Sequence[int]) -> Iterator[float]:
        """The model at the speedup that a batch needs, inside a ``with`` block, which is timed; gives the speedup."""
        place = self.needed(lengths)
        possible = place is not None
        place = len(self.profiles) - 1 if place is None else place
        start = time.perf_counter()
        with at_profile(self.model, self.profiles[place]):
            yield self.speedups[place]
        took = time.perf_counter() - start
        predicted = float(self.predicted(lengths)[place])
        self.counts.count(len(lengths), self.speedups[place], predicted, took, self.seconds, possible)
        self._remember(len(lengths), took / predicted)

    def warm_up(self, lengths: Sequence[int], most: int = 32, budget_s: float = 3.0) -> None:
        """Measure how far predictions are off, over random texts of the shortest, the median and the longest length.

        Parameters
        ----------
        lengths, most : as of :meth:`batches`
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
                self._remember(size, took / float(self.predicted([length] * size)[place]))
            turn += 1

    def _remember(self, size: int, ratio: float) -> None:
        self._ratios.setdefault(_size_class(size), deque(maxlen=REMEMBERED)).append(ratio)


def _size_class(size: int) -> int:
    """Sizes of a batch that are alike: 1, 2, 3 and 4, 5 to 8, ..."""
    return (size - 1).bit_length()
