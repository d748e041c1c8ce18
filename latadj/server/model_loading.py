"""Loads the model that is served, with its dial in this device's time."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.model_class import label_names
from latadj.config import ServeConfig
from latadj.devices import device
from latadj.devices.device import place
from latadj.elimination.attach import dial_of
from latadj.inference.device_clock import needs_clock, require_clock
from latadj.inference.serving import make_ready
from latadj.tasks.encoding.batches import max_input_length, require_room

# Tokens of a text where neither the checkpoint nor the user says it.
MAX_LENGTH = 512


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    model : in eval mode on its device, its dial attached
    labels : names of its outputs
    limit : tokens of a text
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    limit: int


def load_model(config: ServeConfig, metadata: CheckpointMetadata) -> LoadedModel:
    """The checkpoint's model, ready to run.

    Parameters
    ----------
    metadata : of the checkpoint

    Raises
    ------
    ValueError
        if the model is damaged, or this device was not measured.
    """
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
    return LoadedModel(model, tokenizer, labels, limit)


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
