"""What runs in the process that holds the model: it loads it, warms it up and runs batches until the server ends.

Every message is a byte that says what it is, and its content. Only the server's own process is at the other end.
"""

import gc
import json
import logging
import pickle
import time
import traceback
from multiprocessing.connection import Connection

from transformers.utils import logging as transformers_logging

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import ServeConfig
from latadj.devices.device import keep_kernels
from latadj.elimination.attach import dial_of
from latadj.inference.predicted_times import PredictedTimes
from latadj.server.batch_bytes import BatchAnswer, answer_to_bytes, batch_from_bytes
from latadj.server.model_loading import load_model
from latadj.server.model_runner import ModelRunner
from latadj.server.served_model import ServedModel, check_fixed
from latadj.server.time_fit import BatchTimes
from latadj.server.warm_up import WarmUp
from latadj.server.work_items import BatchLimits

# From the server: a batch, and the seconds of a warm-up. From here: an object, an answer, a failure and a log line.
BATCH, WARM_UP = b"B", b"W"
OBJECT, ANSWER, FAILURE, LOG = b"O", b"A", b"F", b"L"


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
        runner, served, warm_up = _open(config, metadata)
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
            outputs = runner(rows, place)
            answer = BatchAnswer(outputs, time.perf_counter() - start)
            connection.send_bytes(ANSWER + answer_to_bytes(answer))
        except Exception as error:
            _fail(connection, error)


def _open(config: ServeConfig, metadata: CheckpointMetadata) -> tuple[ModelRunner, ServedModel, WarmUp]:
    loaded = load_model(config, metadata)
    model, fixed = loaded.model, config.policy == "fixed"
    times = PredictedTimes(
        model,
        max_speedup=config.max_speedup,
        max_drop=None if fixed else config.max_drop,
        confident=config.confident,
        longest=loaded.limit,
        speedup=config.speedup if fixed else None,
    )
    dial = dial_of(model)
    drops = [dial.drop_of(profile) for profile in times.profiles]
    check_fixed(drops, config)
    dtype = str(next(iter(model.parameters())).dtype).removeprefix("torch.")
    served = ServedModel(
        loaded.tokenizer, loaded.labels, loaded.limit, dtype, times.speedups, drops, times.table, times.batch
    )
    runner = ModelRunner(model, loaded.tokenizer, times.profiles)
    for place in sorted({0, len(times.profiles) - 1}):
        runner([{"input_ids": [0]}, {"input_ids": [0, 0, 0]}], place)
    lengths = [min(length, loaded.limit) for length in dial.lengths]
    predicted = BatchTimes.predicted(times.table, times.batch)
    return runner, served, WarmUp(runner, predicted, lengths, BatchLimits(deadline_s=config.deadline_ms / 1000).seconds)


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
