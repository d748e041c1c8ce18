"""A model as a service: it is loaded, warmed up, and answers."""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from typing import Any

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import ServeConfig
from latadj.server.engine import Answered, Engine
from latadj.server.request_errors import InferenceFailedError, NotReadyError
from latadj.server.served_model import ServedModel
from latadj.server.telemetry import Telemetry

log = logging.getLogger("latadj")


class ModelService:
    """Answers requests with one model.

    Parameters
    ----------
    metadata : of the checkpoint
    read : reads them again, for :meth:`reload`

    Raises
    ------
    ValueError
        if the model is damaged, answers NaN, or its dial does not go where the policy is to take it.
    """

    def __init__(
        self, config: ServeConfig, metadata: CheckpointMetadata, read: Callable[[], CheckpointMetadata]
    ) -> None:
        self.config, self._read = config, read
        self._failed: Callable[[Exception], object] = lambda error: None
        self._reloading = asyncio.Lock()
        self.telemetry = Telemetry(
            waiting=lambda: self.engine.scheduler.waiting,
            correction=lambda: self.engine.scheduler.times.correction,
            deadline_s=config.deadline_ms / 1000,
        )
        self.engine = Engine(config, metadata, self.telemetry)
        self._measured = self._warm = False
        self._starting: asyncio.Task[None] | None = None

    @property
    def served(self) -> ServedModel:
        """The model."""
        return self.engine.served

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._warm and self.engine.alive

    def start(self, failed: Callable[[Exception], object]) -> None:
        """Warm up, and answer from then on; the running loop is not held up.

        Parameters
        ----------
        failed : called where that goes wrong, or where nobody would be answered any more
        """
        self._failed = failed

        async def begin() -> None:
            try:
                if not self._measured:
                    await asyncio.to_thread(self.warm_up)
                self.engine.start(failed)
            except Exception as error:
                failed(error)
                return
            gc.collect()
            gc.freeze()  # a collection that looks through all modules would hold up every request
            self._warm = True
            log.info("ready: speedups of 1x to %.2fx", self.served.speedups[-1])

        self._starting = asyncio.get_running_loop().create_task(begin())

    def warm_up(self) -> None:
        """Warm up now, before :meth:`start`, which does not do it again.

        Raises
        ------
        Exception
            whatever goes wrong.
        """
        self.engine.warm_up()
        self._measured = True

    async def started(self) -> None:
        """Wait for :meth:`start`."""
        if self._starting is not None:
            await self._starting

    async def predict(self, texts: Sequence[Sequence[str]], **options: Any) -> Answered:
        """Answer the texts of a request, see :meth:`Engine.predict`.

        Raises
        ------
        RequestError
        """
        if not self._warm:
            raise NotReadyError("the model is not warm yet", 1.0)
        return await self.engine.predict(texts, **options)

    async def reload(self) -> None:
        """Load the checkpoint as it is now, and serve it once it is warm; the one before answers until then.

        Raises
        ------
        NotReadyError
        InferenceFailedError
            if it cannot be served; the one before goes on.
        """
        if not self._warm:
            raise NotReadyError("the model is not warm yet", 1.0)

        def opened() -> Engine:
            engine = Engine(self.config, self._read(), self.telemetry)
            try:
                engine.warm_up()
            except BaseException:
                engine.close()
                raise
            return engine

        async with self._reloading:
            try:
                engine = await asyncio.to_thread(opened)
            except (ValueError, OSError, RuntimeError) as error:
                raise InferenceFailedError(f"not loaded, the model before goes on: {error}") from error
            engine.start(self._failed)
            before, self.engine = self.engine, engine
            await before.drained()
            before.stop()
            await asyncio.to_thread(before.close)
            log.info("serving %s as it is now", self.config.checkpoint)

    async def close(self) -> None:
        """End all processes once what runs is done."""
        if self._starting is not None:
            self._starting.cancel()  # a warm-up that is cut short is no failure
        if self._warm:
            self.engine.stop()
        await asyncio.to_thread(self.engine.close)
