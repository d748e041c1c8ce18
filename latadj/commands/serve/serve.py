"""latadj serve: a server that turns the dial before it drops a request."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.model_class import label_names
from latadj.commands.common.opening import begin
from latadj.commands.serve.checks import check_serve
from latadj.config import ServeConfig
from latadj.devices import device
from latadj.devices.device import place
from latadj.elimination.attach import dial_of
from latadj.inference.device_clock import needs_clock, require_clock
from latadj.inference.serving import make_ready
from latadj.server.application import application
from latadj.server.model_service import ModelService
from latadj.server.web_server import WebServer, bound
from latadj.tasks.encoding.batches import max_input_length, require_room

log = logging.getLogger("latadj")
# Tokens of a text where neither the checkpoint nor the user says it.
MAX_LENGTH = 512


@dataclass
class Ready:
    """A server with its model loaded and its port bound."""

    server: WebServer
    address: str


def prepare(config: ServeConfig, checked: CheckpointMetadata | None = None) -> Ready:
    """Bind the port, load the model and try it.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them

    Raises
    ------
    ValueError
        if the port is in use, the model is damaged, or this device was not measured.
    """
    begin(config)
    listening = bound(config.host, config.port)
    try:
        service = open_service(config, checked)
    except BaseException:
        listening.close()
        raise
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    server: WebServer

    def failed(error: Exception) -> None:
        server.fail(error)

    server = WebServer(application(service, failed), listening, config.drain_s)
    return Ready(server, f"http://{shown}:{port}")


def open_service(config: ServeConfig, metadata: CheckpointMetadata | None = None) -> ModelService:
    """The checkpoint's model, ready to be served.

    Parameters
    ----------
    metadata : of the checkpoint, if they have been checked already

    Raises
    ------
    ValueError
        if the model is damaged, or this device was not measured.
    """
    metadata = check_serve(config) if metadata is None else metadata
    folder, where = Path(config.checkpoint), device.choose(config.device)
    clock = (f"deadline_ms={config.deadline_ms:g}", folder, metadata)
    require_clock(*clock, place(where), config.device.precision)
    model, tokenizer = checkpoint.load(folder, head="classification", metadata=metadata)
    model.eval().to(where)
    task_spec = metadata.task_spec
    limit = min(
        config.max_length or (task_spec.max_length if task_spec else MAX_LENGTH), max_input_length(model, tokenizer)
    )
    require_room(tokenizer, limit)
    labels = _labels(model, metadata, folder)
    batch = task_spec.batch_size if task_spec else None
    spec = make_ready(model, metadata, metadata.dial, where, precision=config.device.precision, batch=batch)
    if dial_of(model).latency is None:
        raise ValueError(needs_clock(*clock, f"another kernel than {spec.kernel}", config.device.precision))
    return ModelService(model, tokenizer, labels, limit, config)


def _labels(model: PreTrainedModel, metadata: CheckpointMetadata, folder: Path) -> list[str]:
    """Names of the model's outputs.

    Raises
    ------
    ValueError
        if it gives a text several labels at a time.
    """
    if model.config.problem_type == "multi_label_classification":
        raise ValueError(f"checkpoint {folder} gives a text several labels at a time: serve answers with one of them")
    names = label_names(model.config, metadata.task_spec.labels if metadata.task_spec else ())
    return list(names) or [str(model.config.id2label[0])]


def run(ready: Ready) -> dict[str, str]:
    """Serve until SIGTERM or SIGINT.

    Returns
    -------
    where it was served
    """
    access = logging.getLogger("latadj.access")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access.handlers, access.propagate = [handler], False
    access.setLevel(logging.INFO)
    log.info("serving on %s", ready.address)
    ready.server.run()
    return {"address": ready.address}
