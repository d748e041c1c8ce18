"""What runs in the process that holds the model: it loads it, warms it up and runs batches until the server ends.

Every message is a byte that says what it is, and its content. Only the server's own process is at the other end.
"""

import gc
import json
import logging
import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from transformers.utils import logging as transformers_logging

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import ServeConfig
from latadj.devices.device import keep_kernels
from latadj.inference.predicted_times import PredictedTimes
from latadj.server.batch_bytes import BatchAnswer, answer_to_bytes, batch_from_bytes
from latadj.server.model_loading import load_model
from latadj.server.served_model import ServedModel, check_fixed
from latadj.server.time_fit import BatchTimes
from latadj.server.warm_up import WarmUp
from latadj.server.work_items import BatchLimits

# From the server: a batch, and the seconds of a warm-up. From here: an object, an answer, a failure and a log line.
BATCH, WARM_UP = b"B", b"W"
OBJECT, ANSWER, FAILURE, LOG = b"O", b"A", b"F", b"L"
# Runs rows at the speedup of a place.
_Run = Callable[[Sequence[dict[str, Any]], int], np.ndarray]


def run_model(connection: Connection, config: ServeConfig, metadata: CheckpointMetadata) -> None:
    """Serve a model to the process at the other end of a connection, until that ends."""
    logging.basicConfig(level=logging.INFO, handlers=[_Forwarder(connection)], force=True)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        _serve(connection, config, metadata)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the server has ended


def _serve(connection: Connection, config: ServeConfig, metadata: CheckpointMetadata) -> None:
    try:
        keep_kernels()
        run, served, warm_up = _open(config, metadata)
    except Exception as error:
        _fail(connection, error)
        return
    connection.send_bytes(OBJECT + pickle.dumps(served))
    while True:
        message = connection.recv_bytes()
        kind, content = message[:1], message[1:]
        try:
            if kind == WARM_UP:
                connection.send_bytes(OBJECT + pickle.dumps(warm_up(float(content))))
                gc.collect()
                gc.freeze()  # what is there stays: no later collection looks through it
                continue
            rows, place = batch_from_bytes(content)
            start = time.perf_counter()
            outputs = run(rows, place)
            answer = BatchAnswer(outputs, time.perf_counter() - start)
            connection.send_bytes(ANSWER + answer_to_bytes(answer))
        except Exception as error:
            _fail(connection, error)


def _open(config: ServeConfig, metadata: CheckpointMetadata) -> tuple[_Run, ServedModel, WarmUp]:
    loaded, fixed = load_model(config, metadata), config.policy == "fixed"
    dial = loaded.dial
    times = PredictedTimes(
        dial,
        loaded.limit,
        max_speedup=config.max_speedup,
        max_drop=None if fixed else config.max_drop,
        confident=config.confident,
        speedup=config.speedup if fixed else None,
    )
    profiles = times.profiles
    drops = [dial.drop_of(profile) for profile in profiles]
    check_fixed(drops, config)
    served = ServedModel(
        *(loaded.tokenizer, loaded.labels, loaded.limit, loaded.dtype, times.speedups, drops, times.table, times.batch),
        embedder=loaded.embedder,
    )
    runner = loaded.runner(profiles)
    for profile in (profiles[0], profiles[-1]):
        runner([{"input_ids": [0]}, {"input_ids": [0, 0, 0]}], profile)
    lengths = [min(length, loaded.limit) for length in dial.lengths]
    predicted = BatchTimes.predicted(times.table, times.batch)
    batch_s = BatchLimits(deadline_s=config.deadline_ms / 1000).seconds
    warm_up = WarmUp(runner, profiles, predicted, lengths, batch_s)
    return lambda rows, place: runner(rows, profiles[place]), served, warm_up


def _fail(connection: Connection, error: Exception) -> None:
    if not isinstance(error, ValueError):
        logging.getLogger("latadj").error("%s", "".join(traceback.format_exception(error)))
    said = {"message": str(error) or type(error).__name__, "refused": isinstance(error, ValueError)}
    connection.send_bytes(FAILURE + json.dumps(said).encode())


class _Forwarder(logging.Handler):
    """Hands log lines to the server, which has the log."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        line = {"name": record.name, "level": record.levelno, "message": record.getMessage()}
        self._connection.send_bytes(LOG + json.dumps(line).encode())
