"""Runs a model within a deadline: picks, batch by batch, how many texts and which speedup meet it."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.elimination.attach import attached, dial_of
from latadj.elimination.current_setting import at_profile
from latadj.elimination.sentence_transformer import transformer_of
from latadj.inference.deadline_counts import DeadlineCounts
from latadj.inference.predicted_times import FEWEST, PredictedTimes

log = logging.getLogger("latadj")
# A larger batch is taken where it needs a speedup so many times as large as the smallest that any batch needs.
NEAR = 1.05
# Tokens of the longest text, where neither the caller nor the model says it.
LONGEST = 512


class Deadline(PredictedTimes):
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
        if not ms > 0:
            raise ValueError(f"ms={ms}: expected a number above 0")
        model = transformer_of(model)
        super().__init__(
            dial_of(model),
            longest or int(getattr(model.config, "max_position_embeddings", LONGEST)),
            quantile=quantile,
            max_speedup=max_speedup,
            max_drop=max_drop,
            confident=confident,
        )
        self.model = model
        self.seconds, self.counts = ms / 1000, counts or DeadlineCounts()

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
        if not self.measured and len(lengths):
            self.warm_up(lengths, most)
            self._say_what_is_possible(lengths)
        order = np.argsort(lengths, kind="stable")
        ordered = np.asarray(lengths)[order]
        start = 0
        while start < len(order):
            size = self._size(ordered[start:], most)
            yield order[start : start + size]
            start += size

    def warm_up(self, lengths: Sequence[int], most: int = 32, budget_s: float = 3.0) -> None:
        """Measure how far predictions are off, over random texts of the shortest, the median and the longest length.

        Parameters
        ----------
        lengths : tokens of texts that stand for those to come
        most : texts of a batch, at most
        budget_s : seconds for all of it; each size is measured twice anyway
        """
        elimination, vocabulary = attached(self.model), int(self.model.config.vocab_size)
        prefill = elimination.architecture.prefill
        sizes = [2**power for power in range(most.bit_length())]
        spread = sorted({int(length) for length in np.quantile(lengths, (0.0, 0.5, 1.0), method="nearest")})
        places = sorted({0, len(self.profiles) // 2, len(self.profiles) - 1})
        rng = np.random.default_rng(0)
        start, turn = time.perf_counter(), 0
        while turn < 2 or (time.perf_counter() - start < budget_s and turn < 4 * FEWEST):
            for size in sizes:
                length, place = int(rng.choice(spread)), int(rng.choice(places))
                rows = rng.integers(0, vocabulary, (size, length))
                if elimination.pair is not None:
                    for row in rows:
                        elimination.pair.separate(row, dial_of(self.model).protected)
                ids = torch.from_numpy(rows).to(self.model.device)
                with torch.inference_mode(), at_profile(self.model, self.profiles[place]):
                    prefill(self.model, ids)  # kernels for a new shape are made once
                    before = time.perf_counter()
                    prefill(self.model, ids)
                    if ids.is_cuda:
                        torch.cuda.synchronize()
                    took = time.perf_counter() - before
                self.remember(size, took / float(self.predicted([length] * size)[place]))
            turn += 1

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
        self.remember(len(lengths), took / predicted)
