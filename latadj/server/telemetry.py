"""What the server counts, as Prometheus reads it."""

import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from latadj.elimination.drops import MeasuredDrop
from latadj.server.live_numbers import Live, LiveNumbers

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
TOKENS = tuple(2.0**power for power in range(4, 16))


class Telemetry:
    """Counters of one server.

    Parameters
    ----------
    waiting : texts in the queue
    correction : how many times as long as usual batches take now
    deadline_s : of the server
    """

    def __init__(
        self,
        waiting: Callable[[], int],
        correction: Callable[[], float],
        deadline_s: float,
    ) -> None:
        self._live = LiveNumbers(deadline_s, time.monotonic)
        self._waiting, self._correction = waiting, correction
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter("latadj_requests", "Requests by status of the answer", ["code"], registry=registry)
        self._latency = Histogram(
            "latadj_request_duration_seconds", "From a request to its answer", buckets=SECONDS, registry=registry
        )
        self._queue = Histogram(
            "latadj_queue_duration_seconds", "From a request to the start of its batch", buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self._run = Histogram("latadj_batch_duration_seconds", "Of a batch", buckets=SECONDS, registry=registry)
        self._tokens = Histogram("latadj_batch_tokens", "Tokens of a batch", buckets=TOKENS, registry=registry)
        self._texts = Counter("latadj_texts", "Texts that were answered", registry=registry)
        self._shed = Counter("latadj_shed", "Requests turned away or dropped", ["reason"], registry=registry)
        self._speedup = Gauge("latadj_dial_speedup", "Speedup of the last batch", registry=registry)
        self._drop = Gauge("latadj_expected_drop_points", "What the last batch loses", registry=registry)
        Gauge("latadj_queue_texts", "Texts that wait", registry=registry).set_function(waiting)
        Gauge("latadj_time_correction", "Time of batches over what is usual", registry=registry).set_function(
            correction
        )

    def request(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._live.request(status, seconds)
        self._requests.labels(str(status)).inc()
        if status == 200:
            self._latency.observe(seconds)

    def batch(
        self, lengths: Sequence[int], speedup: float, drop: MeasuredDrop | None, queue_s: Sequence[float], run_s: float
    ) -> None:
        """A batch ran.

        Parameters
        ----------
        lengths : tokens of its texts
        drop : what is expected to be lost at its speedup; None where nobody measured it
        queue_s : seconds that each text waited
        """
        for seconds in queue_s:
            self._queue.observe(seconds)
        self._live.batch(len(lengths), speedup, drop)
        self._run.observe(run_s)
        self._tokens.observe(sum(lengths))
        self._texts.inc(len(lengths))
        self._speedup.set(speedup)
        if drop is not None:
            self._drop.set(100 * drop.drop)

    def shed(self, reason: str) -> None:
        """A request was turned away or dropped."""
        self._shed.labels(reason).inc()

    def live(self) -> Live:
        """What happened in the last seconds."""
        return self._live.now(self._waiting(), self._correction())

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
