"""Between the event loop and the threads that run the model: requests in, answers out."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from latadj.server.request_errors import InferenceFailedError, OverloadedError
from latadj.server.scheduler import Dropped, Scheduler
from latadj.server.work_items import HUNG_UP, Batch, Item, Ticket

log = logging.getLogger("latadj")
# A thread looks up so often whether it is to end.
LOOK_UP_S = 0.5


@dataclass(frozen=True)
class Answer:
    """What became of one text.

    output : (outputs,) of the model
    place : of the speedup that it ran at
    queue_s, run_s : seconds that it waited, and that its batch took
    """

    output: Any
    place: int
    queue_s: float
    run_s: float


class Observer(Protocol):
    """Who is told what happens; from any thread."""

    def batch(self, batch: Batch, queue_s: Sequence[float], run_s: float) -> None:
        """A batch ran."""

    def shed(self, reason: str) -> None:
        """A request was turned away or dropped."""


class Dispatcher:
    """Runs a scheduler on a clock, with one thread for each replica.

    Parameters
    ----------
    run : rows and the place of a speedup -> an output for each row
    replicas : of the scheduler
    prepare : called by each thread before its first batch
    """

    def __init__(
        self,
        scheduler: Scheduler,
        run: Callable[[Sequence[Any], int], Sequence[Any]],
        observer: Observer,
        replicas: int = 1,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        self.scheduler, self.observer = scheduler, observer
        self._run, self._prepare = run, prepare
        self._failed: Callable[[Exception], object] = lambda error: None
        self._changed = threading.Condition()
        self._ending = False
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"replica-{number}", daemon=True)
            for number in range(replicas)
        ]

    def start(self, failed: Callable[[Exception], object]) -> None:
        """Start the threads.

        Parameters
        ----------
        failed : called where one ends although it should not: nobody would be answered any more
        """
        self._failed = failed
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads once their batches are done; what still waits gets no answer."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    async def answers(
        self, rows: Sequence[Any], *, arrived: float, deadline_s: float, ceiling: int
    ) -> Sequence[Answer]:
        """What the model answers to the texts of a request, in their order.

        Parameters
        ----------
        rows : what the model reads of each text
        arrived : second of ``time.perf_counter`` at which the request came
        deadline_s : seconds after that by which the answer is due
        ceiling : place of the largest speedup that may be used

        Raises
        ------
        OverloadedError
            if the answer would come too late.
        InferenceFailedError
            if the model fails.
        """
        ticket = Ticket(done=_Pending(asyncio.get_running_loop().create_future(), len(rows)))
        due = arrived + deadline_s
        items = [
            Item(row, len(row["input_ids"]), arrived, due, ceiling, ticket, number) for number, row in enumerate(rows)
        ]
        with self._changed:
            refusal = self.scheduler.admit(items, time.perf_counter())
            self._changed.notify_all()
        if refusal is not None:
            self.observer.shed("refused")
            raise OverloadedError(f"Model is overloaded: {refusal.reason}", max(1.0, math.ceil(refusal.retry_after)))
        try:
            answers: Sequence[Answer] = await ticket.done.future
            return answers
        finally:
            ticket.open = False

    def _serve(self, replica: int) -> None:
        try:
            self._prepare()
            self._run_batches(replica)
        except Exception as error:
            log.exception("replica %d ended", replica)
            self._failed(error)

    def _run_batches(self, replica: int) -> None:
        while (batch := self._next(replica)) is not None:
            start = time.perf_counter()
            failure, outputs = None, None
            try:
                outputs = self._run([item.row for item in batch.items], batch.place)
            except Exception as error:
                log.exception("a batch of %d texts failed", len(batch.items))
                failure = InferenceFailedError(f"Backend error: {error}")
            end = time.perf_counter()
            with self._changed:
                self.scheduler.ended(batch, start, end)
            if outputs is None:
                for item in batch.items:
                    item.ticket.done.fail(failure)
                continue
            waited = [start - item.arrived for item in batch.items]
            self.observer.batch(batch, waited, end - start)
            for item, output, queue_s in zip(batch.items, outputs, waited, strict=True):
                item.ticket.done.fill(item.number, Answer(output, batch.place, queue_s, end - start))

    def _next(self, replica: int) -> Batch | None:
        """The next batch, once there is one; None at the end."""
        while True:
            with self._changed:
                batch, dropped = self.scheduler.next_batch(time.perf_counter(), replica)
                if batch is None and not dropped:
                    if self._ending:
                        return None
                    self._changed.wait(LOOK_UP_S)
            self._turn_away(dropped)
            if batch is not None:
                return batch

    def _turn_away(self, dropped: Sequence[Dropped]) -> None:
        for ticket, reason in {one.item.ticket: one.reason for one in dropped}.items():
            self.observer.shed(reason)
            if reason != HUNG_UP:
                ticket.done.fail(OverloadedError("Model is overloaded: the answer would come too late", 1.0))


class _Pending:
    """The answers of a request, as threads bring them."""

    def __init__(self, future: "asyncio.Future[Sequence[Answer]]", texts: int) -> None:
        self.future = future
        self._answers: list[Any] = [None] * texts
        self._left = texts
        self._lock = threading.Lock()

    def fill(self, number: int, answer: Answer) -> None:
        with self._lock:
            self._answers[number] = answer
            self._left -= 1
            complete = self._left == 0
        if complete:
            self._settle(lambda: self.future.set_result(self._answers))

    def fail(self, error: Exception | None) -> None:
        self._settle(lambda: self.future.set_exception(error or InferenceFailedError("Backend error")))

    def _settle(self, how: Callable[[], None]) -> None:
        """Tell the loop, unless nobody waits any more."""

        def settle() -> None:
            if not self.future.done():
                how()

        try:
            self.future.get_loop().call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: the server ended
            log.debug("an answer came after the server's end")
