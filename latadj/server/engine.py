"""A model that is served: its processes, its tokenizer, its queue; all that a reload replaces."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import ServeConfig
from latadj.elimination.drops import MeasuredDrop
from latadj.server.corrected_times import CorrectedTimes
from latadj.server.dispatcher import Answer, Dispatcher
from latadj.server.model_process import ModelDiedError, ModelProcess
from latadj.server.request_errors import OverloadedError
from latadj.server.scheduler import Scheduler
from latadj.server.telemetry import Telemetry
from latadj.server.text_encoder import TextEncoder
from latadj.server.time_fit import BatchTimes
from latadj.server.work_items import Batch, BatchLimits

log = logging.getLogger("latadj")
# A process that dies so soon after the one before it dies again: that is no accident.
AGAIN_S = 60.0


@dataclass(frozen=True)
class Answered:
    """What became of a request.

    outputs, labels : (texts, outputs) of the model, and their names
    speedup : the largest that a text of it ran at
    drop : what is expected to be lost there; None where nobody measured it
    tokenise_s, queue_s, run_s : seconds; of several texts the longest
    tokens : of all texts
    """

    outputs: np.ndarray
    labels: list[str]
    speedup: float
    drop: MeasuredDrop | None
    tokenise_s: float
    queue_s: float
    run_s: float
    tokens: int


class Engine:
    """Runs one checkpoint.

    Opening it loads the model in each of its processes, and takes as long as that. After :meth:`warm_up` and
    :meth:`start` it answers.

    Parameters
    ----------
    metadata : of the checkpoint

    Raises
    ------
    ValueError
        if the model is damaged, answers NaN, or its dial does not go where the policy is to take it.
    """

    def __init__(self, config: ServeConfig, metadata: CheckpointMetadata, telemetry: Telemetry) -> None:
        self.config, self._metadata, self._telemetry = config, metadata, telemetry
        self.processes = [ModelProcess(config, metadata) for _ in range(config.replicas)]
        try:
            self.served, *_ = [process.opened() for process in self.processes]
        except BaseException:
            self._end_processes()
            raise
        served = self.served
        self.encoder = TextEncoder(served.tokenizer, served.limit, config.tokenizers)
        limits = BatchLimits(config.batch_tokens, config.deadline_ms / 1000, config.reserve)
        times = CorrectedTimes(served.speedups, BatchTimes.predicted(served.table, served.batch))
        self.scheduler = Scheduler(times, limits, config.replicas, config.limits.waiting_texts)
        self.dispatcher = Dispatcher(self.scheduler, self.processes, self, self._lost)
        self._failed: Callable[[Exception], object] = lambda error: None
        self._died: float | None = None
        self._restarts: set[asyncio.Task[None]] = set()
        self._closed = threading.Event()
        self._asked, self._idle = 0, asyncio.Event()

    def warm_up(self) -> None:
        """Make kernels, and measure how long batches take now; each process for itself, all at once."""
        seconds = self.config.warm_up_s
        if seconds > 0:
            with ThreadPoolExecutor(len(self.processes)) as pool:
                first, *others = pool.map(lambda process: process.warm_up(seconds), self.processes)
            self.scheduler.times = CorrectedTimes(self.served.speedups, first.together(others))

    def start(self, failed: Callable[[Exception], object]) -> None:
        """Answer from now on, on the running loop.

        Parameters
        ----------
        failed : called where nobody would be answered any more
        """
        self._failed = failed
        self.dispatcher.start()

    @property
    def alive(self) -> bool:
        """Whether any process has a model."""
        return self.dispatcher.alive

    def _lost(self, number: int, error: ModelDiedError) -> None:
        """Start another process in place of one that ended, unless that goes on."""
        now = time.monotonic()
        soon, self._died = self._died is not None and now - self._died < AGAIN_S, now
        if self._closed.is_set():
            return
        if soon:
            self._failed(
                RuntimeError(f"{error}, less than {AGAIN_S:g} s after another; there may be too little memory")
            )
            return
        log.error("%s; another is started", error)
        task = asyncio.get_running_loop().create_task(self._restart(number))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, number: int) -> None:
        try:
            process = await asyncio.to_thread(self._reopened)
        except Exception as error:
            self._failed(error)
            return
        before, self.processes[number] = self.processes[number], process
        self.dispatcher.replace(number, process)
        before.close()
        log.info("process %s holds the model now", process.number)

    def _reopened(self) -> ModelProcess:
        process = ModelProcess(self.config, self._metadata)
        process.opened()
        if self.config.warm_up_s > 0:
            process.warm_up(self.config.warm_up_s)
        return process

    async def predict(
        self,
        texts: Sequence[Sequence[str]],
        *,
        truncate: bool,
        side: str | None,
        arrived: float,
        deadline_s: float,
        max_drop: float | None,
    ) -> Answered:
        """Answer the texts of a request.

        Parameters
        ----------
        texts, truncate, side : as in :class:`TextEncoder`
        arrived : second of ``time.perf_counter`` at which the request came
        deadline_s : seconds after that by which the answer is due
        max_drop : points of the metric that may be lost; None: as much as the server may lose

        Raises
        ------
        RequestError
        """
        if self.encoder.backlog_s > deadline_s:
            self._telemetry.shed("refused")
            raise OverloadedError("Model is overloaded: too many texts wait for the tokenizer", 1.0)
        before = time.perf_counter()
        self._asked += 1
        try:
            rows = await self.encoder(texts, truncate, side)
            tokenise_s = time.perf_counter() - before
            ceiling = self.served.ceiling(max_drop, self.config.confident)
            answers = await self.dispatcher.answers(rows, arrived=arrived, deadline_s=deadline_s, ceiling=ceiling)
        finally:
            self._asked -= 1
            if not self._asked:
                self._idle.set()
        return self._answered(answers, tokenise_s, sum(len(row["input_ids"]) for row in rows))

    def _answered(self, answers: Sequence[Answer], tokenise_s: float, tokens: int) -> Answered:
        fastest = max(answer.place for answer in answers)
        return Answered(
            outputs=np.stack([answer.output for answer in answers]),
            labels=self.served.labels,
            speedup=self.served.speedups[fastest],
            drop=self.served.drops[fastest],
            tokenise_s=tokenise_s,
            queue_s=max(answer.queue_s for answer in answers) - tokenise_s,
            run_s=max(answer.run_s for answer in answers),
            tokens=tokens,
        )

    def batch(self, batch: Batch, queue_s: Sequence[float], run_s: float) -> None:
        """Count a batch that ran."""
        self._telemetry.batch(
            batch.lengths, self.served.speedups[batch.place], self.served.drops[batch.place], queue_s, run_s
        )

    def shed(self, reason: str) -> None:
        """Count a request that was turned away or dropped."""
        self._telemetry.shed(reason)

    async def drained(self) -> None:
        """Wait until all who asked are answered; nobody asks any more."""
        while self._asked:
            self._idle.clear()
            await self._idle.wait()

    def stop(self) -> None:
        """Answer nobody any more; on the loop that it was started on."""
        self._closed.set()
        self.dispatcher.stop()

    def close(self) -> None:
        """End what it started."""
        self._closed.set()
        self._end_processes()
        self.encoder.close()

    def _end_processes(self) -> None:
        for process in self.processes:
            process.close()
