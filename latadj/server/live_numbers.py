"""What happened in the last seconds, for the page that shows it."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latadj.elimination.drops import MeasuredDrop

# Latencies are those of so many seconds, rates and the dial those of the last one or two.
LATENCY_S, RATE_S = 10.0, 2.0


@dataclass(frozen=True)
class Live:
    """One moment; None where nothing happened that could say it.

    offered, answered, shed : requests a second
    p50_ms, p95_ms, p99_ms : from a request to its answer, over the last ten seconds
    in_time : share of those requests that were answered within the server's deadline
    speedup : mean over the texts that ran
    drop, low, high : points that are expected to be lost there, with the ends of the 95% interval
    waiting : texts in the queue
    correction : how many times as long as usual batches take
    """

    offered: float
    answered: float
    shed: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    in_time: float | None
    speedup: float | None
    drop: float | None
    low: float | None
    high: float | None
    waiting: int
    correction: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class LiveNumbers:
    """Remembers the last seconds.

    Parameters
    ----------
    deadline_s : of the server
    clock : seconds
    """

    def __init__(
        self,
        deadline_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._deadline_s, self._clock = deadline_s, clock
        self._lock = threading.Lock()
        # (when, status, seconds) of requests, and (when, texts, speedup, what it loses) of batches.
        self._requests: deque[tuple[float, int, float]] = deque(maxlen=200_000)
        self._batches: deque[tuple[float, int, float, MeasuredDrop | None]] = deque(maxlen=50_000)

    def request(self, status: int, seconds: float) -> None:
        """A request was answered."""
        with self._lock:
            self._requests.append((self._clock(), status, seconds))

    def batch(self, texts: int, speedup: float, drop: MeasuredDrop | None) -> None:
        """A batch ran."""
        with self._lock:
            self._batches.append((self._clock(), texts, speedup, drop))

    def now(self, waiting: int, correction: float) -> Live:
        """This moment."""
        now = self._clock()
        with self._lock:
            while self._requests and self._requests[0][0] < now - LATENCY_S:
                self._requests.popleft()
            while self._batches and self._batches[0][0] < now - RATE_S:
                self._batches.popleft()
            requests, batches = list(self._requests), list(self._batches)
        last = [status for when, status, _ in requests if when >= now - RATE_S]
        answered = [seconds for _, status, seconds in requests if status == 200]
        asked = sum(status in (200, 429) for _, status, _ in requests)
        p50, p95, p99 = (1000 * float(np.percentile(answered, rank)) if answered else None for rank in (50, 95, 99))
        texts = sum(count for _, count, _, _ in batches)

        def mean(values: Sequence[float | None]) -> float | None:
            """Over the texts that ran; None if nobody measured one of the values."""
            counts = [count for _, count, _, _ in batches]
            if not texts or None in values:
                return None
            return sum(value * count for value, count in zip(values, counts, strict=True) if value is not None) / texts

        def points(end: str) -> float | None:
            return mean([None if drop is None else 100 * getattr(drop, end) for *_, drop in batches])

        return Live(
            len(last) / RATE_S,
            last.count(200) / RATE_S,
            last.count(429) / RATE_S,
            p50,
            p95,
            p99,
            sum(seconds <= self._deadline_s for seconds in answered) / asked if asked else None,
            mean([speedup for _, _, speedup, _ in batches]),
            points("drop"),
            points("low"),
            points("high"),
            waiting,
            correction,
        )
