"""The process that holds the model, as the server sees it."""

import json
import logging
import multiprocessing
import pickle
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import ServeConfig
from latadj.server import model_child
from latadj.server.batch_bytes import BatchAnswer, answer_from_bytes, batch_to_bytes
from latadj.server.request_errors import InferenceFailedError
from latadj.server.served_model import ServedModel
from latadj.server.time_fit import BatchTimes

# Seconds that the process gets to end by itself: longer than any batch should take.
PATIENCE_S = 5.0


class ModelDiedError(RuntimeError):
    """The process that holds the model has ended."""


class ModelProcess:
    """Starts a process that loads a model; it ends with this one.

    The model has Python's lock and a core to itself: in a thread of the server, each of its calls would wait for the
    requests that are read and written meanwhile.
    """

    def __init__(self, config: ServeConfig, metadata: CheckpointMetadata) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._connection, other = spawning.Pipe()
        self._process = spawning.Process(
            target=model_child.run_model, args=(other, config, metadata), name="latadj-model", daemon=True
        )
        with _signals_blocked():
            self._process.start()
        other.close()

    @property
    def number(self) -> int | None:
        """Of the process."""
        return self._process.pid

    def opened(self) -> ServedModel:
        """Wait until the model is loaded.

        Raises
        ------
        ValueError
            if it cannot be served.
        ModelDiedError, InferenceFailedError
        """
        served: ServedModel = self._object()
        return served

    def warm_up(self, seconds: float) -> BatchTimes:
        """Wait until the model is warm; gives what batches take. Raises as :meth:`opened`."""
        self._send(model_child.WARM_UP + str(seconds).encode())
        times: BatchTimes = self._object()
        return times

    def _object(self) -> Any:
        while (found := self._receive()) is None:
            pass
        return found

    def run(self, rows: Sequence[dict[str, Any]], place: int) -> None:
        """Begin a batch at the speedup of a place; :meth:`fileno` is readable when there is something to receive.

        Raises
        ------
        ModelDiedError
        """
        self._send(model_child.BATCH + batch_to_bytes(rows, place))

    def receive(self) -> BatchAnswer | None:
        """The answer of the batch that was begun; None where it was not yet that.

        Raises
        ------
        InferenceFailedError
            if the model fails.
        ModelDiedError
        """
        try:
            answer: BatchAnswer | None = self._receive()
        except ValueError as error:
            raise InferenceFailedError(f"Backend error: {error}") from None
        return answer

    def fileno(self) -> int:
        """What becomes readable."""
        return self._connection.fileno()

    def close(self) -> None:
        """End the process once its batch is done."""
        self._connection.close()
        self._process.join(PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, message: bytes) -> None:
        try:
            self._connection.send_bytes(message)
        except OSError:
            raise self._death() from None

    def _receive(self) -> Any:
        try:
            message = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._death() from None
        kind, content = message[:1], message[1:]
        if kind == model_child.ANSWER:
            return answer_from_bytes(content)
        if kind == model_child.OBJECT:
            return pickle.loads(content)  # only a process that this one has started wrote it
        said = json.loads(content)
        if kind == model_child.LOG:
            logging.getLogger(said["name"]).log(said["level"], "%s", said["message"])
            return None
        if said["refused"]:
            raise ValueError(said["message"])
        raise InferenceFailedError(f"Backend error: {said['message']}")

    def _death(self) -> ModelDiedError:
        self._process.join(PATIENCE_S)
        return ModelDiedError(f"the process that holds the model ended with code {self._process.exitcode}")


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Whoever is started in this block never gets SIGINT or SIGTERM, which a terminal sends to all: it ends by us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
