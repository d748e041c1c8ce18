"""Between requests and the processes that run the model: batches out, answers in, all on the event loop."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from latadj.server.batch_bytes import BatchAnswer
from latadj.server.model_process import ModelDiedError
from latadj.server.request_errors import InferenceFailedError, NotReadyError, OverloadedError
from latadj.server.scheduler import Scheduler
from latadj.server.work_items import HUNG_UP, Batch, Dropped, Item, Ticket

log = logging.getLogger("latadj")


@dataclass(frozen=True)
class Answer:
    """What became of one text.

    output : (outputs,) of the model
    place : of the speedup that it ran at
    queue_s, run_s : seconds that it waited, and that the model ran
    """

    output: Any
    place: int
    queue_s: float
    run_s: float


class Replica(Protocol):
    """What runs batches, one at a time; see :class:`~latadj.server.model_process.ModelProcess`."""

    def run(self, rows: Sequence[dict[str, Any]], place: int) -> None:
        """Begin a batch."""

    def receive(self) -> BatchAnswer | None:
        """Its answer, once :meth:`fileno` is readable; None if it is not there yet."""

    def fileno(self) -> int:
        """What becomes readable."""


class Observer(Protocol):
    """Who is told what happens."""

    def batch(self, batch: Batch, queue_s: Sequence[float], run_s: float) -> None:
        """A batch ran."""

    def shed(self, reason: str) -> None:
        """A request was turned away or dropped."""


class Dispatcher:
    """Runs a scheduler on a clock. Not thread-safe: all of it belongs to the event loop.

    Parameters
    ----------
    replicas : as many as the scheduler has
    lost : called with the number of a replica whose process has ended, and why
    """

    def __init__(
        self,
        scheduler: Scheduler,
        replicas: Sequence[Replica],
        observer: Observer,
        lost: Callable[[int, ModelDiedError], object],
    ) -> None:
        self.scheduler, self.observer = scheduler, observer
        self._replicas: list[Replica | None] = list(replicas)
        self._running: list[tuple[Batch, float] | None] = [None] * len(self._replicas)
        self._lost = lost
        self._wake: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen to the replicas, on the running loop."""
        for number, replica in enumerate(self._replicas):
            if replica is not None:
                self._listen(number, replica)

    def _listen(self, number: int, replica: Replica) -> None:
        asyncio.get_running_loop().add_reader(replica.fileno(), self._readable, number, replica)

    @property
    def alive(self) -> bool:
        """Whether any replica is left."""
        return any(replica is not None for replica in self._replicas)

    def replace(self, number: int, replica: Replica) -> None:
        """Put a new replica where one was lost."""
        self._replicas[number] = replica
        self.scheduler.back(number)
        self._listen(number, replica)
        self._feed()

    def stop(self) -> None:
        """Listen no more; what still waits gets no answer."""
        if self._wake is not None:
            self._wake.cancel()
        for replica in self._replicas:
            if replica is not None:
                asyncio.get_running_loop().remove_reader(replica.fileno())

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
        NotReadyError
            if no replica is left.
        """
        if not self.alive:
            raise NotReadyError("the model is being loaded again", 1.0)
        ticket = Ticket(done=_Pending(asyncio.get_running_loop().create_future(), len(rows)))
        due = arrived + deadline_s
        items = [
            Item(row, len(row["input_ids"]), arrived, due, ceiling, ticket, number) for number, row in enumerate(rows)
        ]
        refusal = self.scheduler.admit(items, time.perf_counter())
        if refusal is not None:
            self.observer.shed("refused")
            raise OverloadedError(f"Model is overloaded: {refusal.reason}", max(1.0, math.ceil(refusal.retry_after)))
        self._feed()
        try:
            answers: Sequence[Answer] = await ticket.done.future
            return answers
        finally:
            ticket.open = False

    def _feed(self) -> None:
        """Give every replica that has nothing to do its next batch, if there is one."""
        for number, replica in enumerate(self._replicas):
            if replica is not None and self._running[number] is None:
                self._give(number, replica)

    def _give(self, number: int, replica: Replica) -> None:
        now = time.perf_counter()
        batch, dropped = self.scheduler.next_batch(now, number)
        if batch is not None:
            self._running[number] = batch, now
            try:
                replica.run([item.row for item in batch.items], batch.place)
            except ModelDiedError as error:
                self._died(number, error)
        self._turn_away(dropped)

    def _readable(self, number: int, replica: Replica) -> None:
        answer, failure = None, None
        try:
            answer = replica.receive()
        except ModelDiedError as error:
            asyncio.get_running_loop().remove_reader(replica.fileno())
            self._died(number, error)
            return
        except InferenceFailedError as error:
            failure = error
        running = self._running[number]
        if running is None or (answer is None and failure is None):
            return
        batch, start = running
        self._running[number] = None
        self.scheduler.ended(batch, start, time.perf_counter())
        self._give(number, replica)  # first of all, so that the model waits for nobody
        if answer is None:
            log.error("a batch of %d texts failed: %s", len(batch.items), failure)
            self._fail(batch, failure)
            return
        waited = [start - item.arrived for item in batch.items]
        self.observer.batch(batch, waited, answer.seconds)
        for item, output, queue_s in zip(batch.items, answer.outputs, waited, strict=True):
            item.ticket.done.fill(item.number, Answer(output, batch.place, queue_s, answer.seconds))

    def _fail(self, batch: Batch, failure: Exception | None) -> None:
        for item in batch.items:
            item.ticket.done.fail(failure)

    def _died(self, number: int, error: ModelDiedError) -> None:
        """Answer those who are left behind, and let somebody start another."""
        self._replicas[number] = None
        running, self._running[number] = self._running[number], None
        self.scheduler.lost(number)
        if running is not None:
            self._fail(running[0], InferenceFailedError(f"Backend error: {error}"))
        if not self.alive:
            for item in self.scheduler.clear():
                item.ticket.done.fail(NotReadyError("the model is being loaded again", 1.0))
        self._lost(number, error)

    def _turn_away(self, dropped: Sequence[Dropped]) -> None:
        for ticket, reason in {one.item.ticket: one.reason for one in dropped}.items():
            self.observer.shed(reason)
            if reason != HUNG_UP:
                ticket.done.fail(OverloadedError("Model is overloaded: the answer would come too late", 1.0))


class _Pending:
    """The answers of a request, as they come."""

    def __init__(self, future: "asyncio.Future[Sequence[Answer]]", texts: int) -> None:
        self.future = future
        self._answers: list[Any] = [None] * texts
        self._left = texts

    def fill(self, number: int, answer: Answer) -> None:
        self._answers[number] = answer
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result(self._answers)

    def fail(self, error: Exception | None) -> None:
        if error is not None and not self.future.done():
            self.future.set_exception(error)
