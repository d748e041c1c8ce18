"""``latadj.json``, the file beside a model that holds its dial, and whether a folder holds a model for a task.

Imports neither torch nor transformers, so that a wrong folder or speedup is refused at once.
"""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from latadj.checkpoints.config_file import CONFIG_FILE, model_config, named_labels
from latadj.checkpoints.runtime_times import RuntimeTimes
from latadj.checkpoints.task_spec import TaskSpec
from latadj.config import EMBEDDING, TaskConfig
from latadj.config.options.model import PRECISIONS
from latadj.config.options.task import MTEB, RERANKING, RETRIEVAL
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel
from latadj.elimination.layer_structure import ModelStructure
from latadj.elimination.topk_setting import TopKAttention
from latadj.utils.files import read_json, recover_folder, write_json
from latadj.utils.serialization import register, require_all, structure, unstructure

METADATA_FILE = "latadj.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
SCHEMA = "latadj.checkpoint/2"
SCHEMA_1 = "latadj.checkpoint/1"
# What a model is made for -> types of the tasks that it can do, whatever they are called.
_ALIKE: dict[str | None, tuple[str, ...]] = {EMBEDDING: (EMBEDDING, RETRIEVAL, MTEB), RERANKING: (RERANKING,)}
_WINDOW = {"queries": "window_size", "sinks": "sink_tokens", "recent": "recent_ratio", "smooth": "kernel_size"}


@dataclass
class Serving:
    """What calibration found for one precision on one device.

    kernel : which runs it fastest
    models : a latency model for each batch size, and span of lengths, that was measured; the newest first
    """

    kernel: str
    models: tuple[LatencyModel, ...] = ()

    def model(self, batch: int | None, lengths: Sequence[int]) -> LatencyModel | None:
        """The model of a batch size and of lengths; None if none was measured.

        Between two batch sizes that were measured for the same lengths it is interpolated; else it is the nearest by
        ratio.

        Parameters
        ----------
        batch : None: the newest measurement's
        """

        def distance(model: LatencyModel) -> float:
            return abs(math.log(model.batch / (batch or model.batch))) + math.log(model.beyond(lengths))

        nearest = min(self.models, key=distance, default=None)
        if nearest is None or batch is None or nearest.batch == batch:
            return nearest
        beyond = nearest.beyond(lengths)
        others = [model for model in self.models if (model.batch < batch) != (nearest.batch < batch)]
        other = min((model for model in others if model.beyond(lengths) <= beyond), key=distance, default=None)
        return nearest if other is None or other.scales != nearest.scales else nearest.towards(other, batch)


@dataclass
class Device:
    """What calibration found for one device.

    precision : what ``auto`` chose; None if it was never used
    trials : precision -> agreement with fp32 and milliseconds a batch, the reason of the choice
    serving : precision -> kernel and latency models
    runtimes : for each batch size the time in PyTorch and in each runtime
    """

    precision: str | None = None
    trials: dict[str, dict[str, float]] = field(default_factory=dict)
    serving: dict[str, Serving] = field(default_factory=dict)
    runtimes: tuple[RuntimeTimes, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in (None, *PRECISIONS):
            raise ValueError(f"precision={self.precision}: expected one of {', '.join(PRECISIONS)}, or null")


class Notes(TypedDict, total=False):
    """Where a model's numbers come from: what is read of it again, and whatever else was noted.

    run, origin : names of the fine-tuning that made the model, and of the one that it comes from
    validation : stage of the fine-tuning -> metrics
    calibration, pruned, extracted : what `latadj calibrate`, `latadj prune` and ``latadj.extract`` noted
    """

    run: str
    origin: str
    seed: int
    validation: dict[str, dict[str, Any]]
    calibration: dict[str, Any]
    pruned: "PrunedNotes"
    extracted: "ExtractedNotes"


class PrunedNotes(TypedDict, total=False):
    """What `latadj prune` noted: its objective, and the metric on the texts of the search and on held-out ones."""

    objective: str
    budget: float | None
    tolerance: float
    judged: float
    confirmed: float


class ExtractedNotes(TypedDict):
    """Of which speedup of a larger model's dial a sub-network is, and what that dial was marked in."""

    speedup: float
    target: str


@dataclass
class CheckpointMetadata:
    """What ``latadj.json`` holds.

    task : name of the task that the model was fine-tuned for; None if latadj does not know
    dial : None until `latadj calibrate`
    notes : where the numbers come from (calibration set, seed, versions)
    devices : name of a device, see ``latadj.devices.device.place`` -> what was measured there
    task_spec : what the task asks of the model; None if latadj does not know
    pruning : what is left of each layer; None if nothing was removed
    topk_attention : to how many keys the queries of each layer attend; None if to all
    order_checksum : of the weights, where the dial goes by the order of heads and neurons; None if nobody wrote it
    """

    task: str | None = None
    dial: Dial | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    task_spec: TaskSpec | None = None
    pruning: ModelStructure | None = None
    topk_attention: TopKAttention | None = None
    order_checksum: str | None = None

    def __post_init__(self) -> None:
        if self.dial is None:
            return
        for name, device in self.devices.items():
            for precision, served in device.serving.items():
                if any(len(model.scales) not in (0, self.dial.layers) for model in served.models):
                    raise ValueError(
                        f"devices[{name!r}].serving[{precision!r}]: a latency model whose scales are not those of "
                        f"{self.dial.layers} layers"
                    )

    @classmethod
    def of(
        cls, task: TaskConfig, dial: Dial | None = None, notes: dict[str, Any] | None = None
    ) -> "CheckpointMetadata":
        """That of a model which was made for a task."""
        return cls(task.name, dial, notes or {}, task_spec=TaskSpec.of(task))

    @property
    def origin(self) -> str | None:
        """The fine-tuning that the model comes from, whatever was pruned and trained since; None if it is unknown."""
        origin = self.notes.get("origin", self.notes.get("run"))
        return None if origin is None else str(origin)

    def calibrate(self, folder: Path) -> str:
        """The command that calibrates the model in a folder."""
        where = f"folder={folder.parent}" if folder.name == "checkpoint" else f"checkpoint={folder}"
        return f"latadj calibrate task={self.task or 'TASK'} {where}"

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **unstructure(self)}


# These have a JSON form of their own.
register(ModelStructure, ModelStructure.from_json, ModelStructure.to_json)
register(TopKAttention, TopKAttention.from_json, TopKAttention.to_json)
require_all(Serving)
require_all(Device, "runtimes")


def read_metadata(folder: Path) -> CheckpointMetadata:
    """What ``latadj.json`` in a model's folder holds; an empty one if the model was not made by latadj.

    Raises
    ------
    ValueError
        if the file is damaged or of another schema.
    """
    path = folder / METADATA_FILE
    if not path.exists():
        return CheckpointMetadata()
    mend = "make it anew with `latadj calibrate`"
    data = read_json(path, "dial file", mend)
    try:
        data = migrated(data) if isinstance(data, dict) else data
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}; {mend}") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path}: schema {reprlib.repr(schema)}, this latadj reads {SCHEMA!r}; {mend}")
    try:
        # Fields of later versions are left alone; a null is a field that is not there.
        known = {part.name: data[part.name] for part in fields(CheckpointMetadata) if data.get(part.name) is not None}
        metadata = structure(CheckpointMetadata, known)
        structure(Notes, metadata.notes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {mend}") from error
    return metadata


def write_metadata(folder: Path, metadata: CheckpointMetadata) -> None:
    """Write ``latadj.json`` beside a model."""
    write_json(folder / METADATA_FILE, metadata.to_json())


def check(folder: Path, task: TaskConfig | None = None) -> CheckpointMetadata:
    """Check that a folder holds a whole model, made for ``task`` if that is known, without loading it.

    Returns
    -------
    its metadata, read once: hand it to whoever opens the folder next

    Raises
    ------
    ValueError
        if it is missing, cut short or for another task.
    """
    make = "make it with `latadj finetune` (same model= and task=), or name another with checkpoint=FOLDER"
    recover_folder(folder)
    if not folder.is_dir():
        raise ValueError(f"checkpoint {folder}: no such folder; {make}")
    inside = [folder / name for name in ("checkpoint", "pruned", "plain") if (folder / name / CONFIG_FILE).is_file()]
    if inside and not (folder / CONFIG_FILE).is_file():
        raise ValueError(
            f"checkpoint {folder}: the folder of a run, not a model; name one that it holds: "
            f"checkpoint={' or '.join(str(model) for model in inside)}"
        )
    model_config(folder, make)
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise ValueError(f"checkpoint {folder}: no {' or '.join(WEIGHTS)} (other formats are not read); {make}")
    metadata = read_metadata(folder)
    made_for = metadata.task_spec.type if metadata.task_spec else None
    if task is not None and task.type in _ALIKE.get(made_for, ()):
        return metadata  # embeddings, and scores of pairs, are for any task of their kind
    if task is not None and metadata.task not in (None, task.name):
        raise ValueError(
            f"checkpoint {folder} is for task={metadata.task}, not task={task.name}: "
            f"run with task={metadata.task}, or fine-tune one for {task.name}"
        )
    return metadata


def labels_of(folder: Path, metadata: CheckpointMetadata) -> list[str] | None:
    """The labels of a saved model by class number, as latadj or its author wrote them; None if nobody did."""
    task_spec = metadata.task_spec
    if task_spec is not None and (task_spec.labels or task_spec.type in ("classification", RERANKING)):
        return task_spec.labels
    return named_labels(folder)


def migrated(data: dict[str, Any]) -> dict[str, Any]:
    """Metadata with the names of :data:`SCHEMA`; those that have them already are returned as they are.

    Parameters
    ----------
    data : what ``latadj.json`` holds, of :data:`SCHEMA` or :data:`SCHEMA_1`
    """
    if data.get("schema") != SCHEMA_1:
        return data
    current = _renamed(data, {"purpose": "task_spec", "hard_attention": "topk_attention"}) | {"schema": SCHEMA}
    if current.get("task_spec"):
        current["task_spec"] = _renamed(current["task_spec"], {"kind": "type"})
    if current.get("dial"):
        current["dial"] = _renamed(current["dial"], {"family": "profile_type"})
        if "window" in current["dial"]:
            current["dial"]["window"] = _renamed(current["dial"]["window"], _WINDOW)
    return current


def _renamed(data: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in data.items()}
