"""Picks, batch by batch, the smallest speedup that meets a deadline, and counts how often that came true."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from latadj.elimination.attach import at_profile, dial_of

SPEEDUPS_TRIED = 33  # speedups that are tried, from 1 to the dial's reach, each a little larger than the one before


@dataclass
class DeadlineCounts:
    """How many batches and texts a deadline was met for.

    met : by the clock
    beyond : where not even the largest speedup was predicted to meet it; those ran at the largest
    late : predicted to meet it, but by the clock did not
    predicted_s, measured_s : of all batches, summed
    speedups : texts that ran at each speedup
    """

    batches: int = 0
    texts: int = 0
    met_batches: int = 0
    met_texts: int = 0
    beyond_batches: int = 0
    beyond_texts: int = 0
    late_batches: int = 0
    late_texts: int = 0
    predicted_s: float = 0.0
    measured_s: float = 0.0
    speedups: dict[str, int] = field(default_factory=dict)

    def count(self, texts: int, speedup: float, predicted: float, measured: float, deadline: float) -> None:
        """Add a batch."""
        self._add("", texts)
        if measured <= deadline:
            self._add("met_", texts)
        if predicted > deadline:
            self._add("beyond_", texts)
        elif measured > deadline:
            self._add("late_", texts)
        self.predicted_s += predicted
        self.measured_s += measured
        self.speedups = dict(Counter(self.speedups) + Counter({f"{speedup:.2f}": texts}))

    def _add(self, which: str, texts: int) -> None:
        setattr(self, f"{which}batches", getattr(self, f"{which}batches") + 1)
        setattr(self, f"{which}texts", getattr(self, f"{which}texts") + texts)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Deadline:
    """Turns a model's dial for each batch.

    The latency model knows batches of one size and one length. A batch of other sizes and lengths is predicted as the
    mean over its lengths; of that, what a batch of one-word texts takes is fixed and the rest goes by the number of
    texts.

    Parameters
    ----------
    model : attached, its dial marked in latency
    seconds : that a batch may take
    longest : tokens of the longest text
    met : what an interrupted run counted
    """

    def __init__(self, model: PreTrainedModel, seconds: float, longest: int, met: DeadlineCounts | None = None) -> None:
        dial = dial_of(model)
        if dial.latency is None:
            raise ValueError("a deadline needs a dial that is marked in latency")
        self.model, self.seconds, self.met = model, seconds, met or DeadlineCounts()
        reach = dial.reach()
        self.speedups = np.geomspace(1.0, reach, SPEEDUPS_TRIED).tolist() if reach > 1.0 else [1.0]
        self.profiles = [dial.profile(speedup) for speedup in self.speedups]
        # Seconds of a batch of the measured size, for texts of 1 to `longest` tokens.
        lengths = np.arange(1, longest + 1)
        self._table = np.array([dial.latency.seconds(profile, lengths, dial.reads) for profile in self.profiles])
        self._batch = dial.latency.batch

    def predicted(self, lengths: Sequence[int]) -> np.ndarray:
        """Seconds that a batch of these lengths takes at each of ``speedups``."""
        mean = self._table[:, np.asarray(lengths) - 1].mean(axis=1)
        fixed = self._table[:, 0]
        return fixed + (mean - fixed) * len(lengths) / self._batch

    @contextmanager
    def __call__(self, lengths: Sequence[int]) -> Iterator[None]:
        """The model at the speedup that a batch needs, inside a ``with`` block, which is timed."""
        predicted = self.predicted(lengths)
        in_time = np.flatnonzero(predicted <= self.seconds)
        place = int(in_time[0]) if len(in_time) else len(self.profiles) - 1
        start = time.perf_counter()
        with at_profile(self.model, self.profiles[place]):
            yield
        took = time.perf_counter() - start
        self.met.count(len(lengths), self.speedups[place], float(predicted[place]), took, self.seconds)
