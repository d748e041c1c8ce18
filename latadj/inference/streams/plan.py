"""What `latadj predict` is about to do, found out without torch, so that what cannot work is refused at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.checkpoints.task_spec import QUESTION_COLUMNS, TaskSpec, type_of
from latadj.config import EMBEDDING, PredictConfig
from latadj.elimination.dial import Dial
from latadj.inference.device_clock import require_any_clock
from latadj.inference.graph_folder import check_graphs, require_graph_clock
from latadj.inference.streams.checks import READS, check_output, check_type
from latadj.inference.streams.finished import finished_result
from latadj.inference.streams.reading import STREAM, Reader, input_format, is_stream, open_reader
from latadj.inference.streams.rows import ColumnOptions
from latadj.inference.streams.writing import Paths, PredictState, output_format, state_to_resume
from latadj.runtime.manifest import Manifest, is_exported
from latadj.utils.files import real_path

BATCH_SIZE = 32  # where nobody says it


@dataclass
class ModelPlan:
    """What a model is opened by.

    task_type : as in ``task.type``
    dial : in FLOPs, on the profile type to serve
    speedup : None with a deadline, and with ``max_drop`` until the dial is marked for this device
    """

    metadata: CheckpointMetadata
    task_type: str
    dial: Dial | None
    speedup: float | None
    batch_size: int

    @property
    def text_columns(self) -> list[str]:
        """The columns that the model was fine-tuned on; empty where nobody knows."""
        if self.task_type == "question_answering":
            return QUESTION_COLUMNS
        trained = self.metadata.task_spec.text if self.metadata.task_spec else []
        # Pairs are compared, and each of their texts has an embedding of its own.
        return ["text"] if self.task_type == EMBEDDING and len(trained) != 1 else trained


@dataclass
class Plan(ModelPlan):
    """What a run starts from.

    reader : of the input, at its start; None where standard input is left for later
    state : of a run to go on with
    finished : the result of such a run that left nothing to do
    """

    reader: Reader | None
    settings: dict[str, Any]
    state: PredictState | None
    finished: dict[str, Any] | None


def check_plan(config: PredictConfig) -> CheckpointMetadata:
    """Refuse what can be refused before anything is loaded; what can be read once only is not touched.

    Returns
    -------
    the checkpoint's metadata, for :func:`make_plan`

    Raises
    ------
    ValueError
    """
    plan = make_plan(config, touch=not is_stream(config.input or ""))
    if plan.reader is not None:
        plan.reader.close()
    return plan.metadata


def make_plan(config: PredictConfig, metadata: CheckpointMetadata | None = None, *, touch: bool = True) -> Plan:
    """Find checkpoint, dial, input and columns, and an interrupted run if there is one; writes nothing.

    Parameters
    ----------
    metadata : of the checkpoint, if they have been read already
    touch : open the input

    Raises
    ------
    ValueError
        if one of them is missing or does not fit.
    """
    if not config.input:
        raise ValueError("no input: give a file, as in `latadj predict input=texts.txt`, or input=- for standard input")
    kind = input_format(config.input, config.format)
    output_format(config.output)
    check_output(config)
    plan = plan_model(config, metadata)
    options = column_options(config, plan)
    reader = open_reader(config.input, config.format, options) if touch else None
    try:
        source = config.input if is_stream(config.input) else _stamp(Path(config.input))
        settings = settings_of(config, plan, source, kind, reader.columns if reader else None)
        # Until it is known what runs, nobody can say whether a run before this one did the same.
        state, finished = (None, None) if config.runtime == "auto" else _going_on(config, settings)
    except ValueError:
        if reader is not None:
            reader.close()
        raise
    return Plan(**vars(plan), reader=reader, settings=settings, state=state, finished=finished)


def plan_model(config: PredictConfig, metadata: CheckpointMetadata | None = None) -> ModelPlan:
    """Find checkpoint and dial.

    Parameters
    ----------
    metadata : of the checkpoint, if they have been read already

    Raises
    ------
    ValueError
        if one of them is missing or does not fit.
    """
    if config.prompt is not None:
        raise ValueError("prompt=: predict asks a model's classification head, which takes no prompt")
    metadata = _metadata(config) if metadata is None else metadata
    task_type = _type_of(Path(config.checkpoint), metadata.task_spec)
    check_type(config, task_type)
    speedup, dial = _turned(config, metadata)
    return ModelPlan(metadata, task_type, dial, speedup, config.batch_size or batch_size_of(metadata))


def column_options(config: PredictConfig, plan: ModelPlan) -> ColumnOptions:
    """What the user and the checkpoint say of the input's columns."""
    text = [config.text] if isinstance(config.text, str) else list(config.text or [])
    return ColumnOptions(text, plan.text_columns, config.id, READS[plan.task_type])


def batch_size_of(metadata: CheckpointMetadata) -> int:
    """Texts of a batch where the user names no number."""
    return metadata.task_spec.batch_size if metadata.task_spec else BATCH_SIZE


def _type_of(folder: Path, task_spec: TaskSpec | None) -> str:
    """The type of task that a checkpoint, or the model that graphs were made of, is for."""
    embeds = is_exported(folder) and Manifest.read(folder).type == EMBEDDING
    return EMBEDDING if embeds else type_of(folder, task_spec)


def _metadata(config: PredictConfig) -> CheckpointMetadata:
    """Metadata of the checkpoint, or of the folder of graphs."""
    folder = Path(config.checkpoint)
    return check_graphs(folder, config.device, "predict") if is_exported(folder) else check(folder)


def _turned(config: PredictConfig, metadata: CheckpointMetadata) -> tuple[float | None, Dial | None]:
    """The speedup, None with a deadline or ``max_drop``, and the dial that has it."""
    make = f"make one with `{metadata.calibrate(Path(config.checkpoint))}`"
    dial = metadata.dial
    if dial is not None and config.profile:
        dial = dial.with_profile_type(config.profile)
    if config.max_drop is not None:
        if dial is None:
            raise ValueError(
                f"max_drop={config.max_drop:g} needs a dial, and checkpoint {config.checkpoint} has none: {make}"
            )
        # What is lost at 1x is the same in FLOPs as in time.
        dial.within(config.max_drop, config.confident)
    if config.deadline_ms is None and config.max_drop is not None:
        return None, dial
    if config.deadline_ms is None:
        speedup = 1.0 if config.speedup is None else config.speedup
        if dial is not None:
            dial.profile(speedup)
        elif speedup != 1.0:
            raise ValueError(f"speedup={speedup:g} needs a dial, and checkpoint {config.checkpoint} has none: {make}")
        return speedup, dial
    if dial is None:
        raise ValueError(f"deadline_ms needs a dial, and checkpoint {config.checkpoint} has none: {make}")
    deadline, folder = f"deadline_ms={config.deadline_ms:g}", Path(config.checkpoint)
    if config.runtime == "auto":
        return None, dial  # whatever runs is asked for its clock once it is known
    if is_exported(folder):
        require_graph_clock(deadline, folder, metadata, config.device.asked_threads)
    else:
        require_any_clock(deadline, folder, metadata, config.device.precision, config.batch_size)
    return None, dial


def _going_on(config: PredictConfig, settings: dict[str, Any]) -> tuple[PredictState | None, dict[str, Any] | None]:
    """The interrupted run to go on with, or the result of one that left nothing to do."""
    streams = is_stream(config.input or "")
    if (streams or config.output == STREAM) and config.resume:
        stream = "standard input" if config.input == STREAM else "a pipe"
        which = f"input={config.input}: what was read from {stream} is gone"
        if config.output == STREAM:
            which = "output=-: what was written to standard output is out of reach"
        raise ValueError(f"resume=true with {which}; take files")
    if config.output == STREAM:
        return None, None
    paths = Paths(Path(config.output))
    if config.resume and paths.final.exists() and not paths.state.exists():
        result = finished_result(config, settings)
        if result is not None:
            return None, result
    return state_to_resume(paths, settings, resume=config.resume, overwrite=config.overwrite), None


def settings_of(
    config: PredictConfig, plan: ModelPlan, source: str, kind: str, columns: Sequence[str] | None
) -> dict[str, Any]:
    """All that an output depends on, but the device and its kernel: what must be the same to go on.

    Parameters
    ----------
    source : what tells the input from another
    kind : its format
    columns : of the text; None where nobody has looked
    """
    return {
        "input": source,
        "format": kind,
        "text": list(columns) if columns is not None else None,
        "id": config.id,
        "checkpoint": checkpoint_stamps(Path(config.checkpoint)),
        "speedup": plan.speedup,
        "deadline_ms": config.deadline_ms,
        "deadline_quantile": config.deadline_quantile,
        "max_speedup": config.max_speedup,
        "max_drop": config.max_drop,
        "confident": config.confident,
        "profile": config.profile,
        "dial.target": config.dial.target,
        "device.precision": config.device.precision,
        "window": config.window,
        "batch_size": plan.batch_size,
        "max_length": config.max_length,
        "all_probabilities": config.all_probabilities,
        "null_threshold": config.null_threshold,
        "vectors": config.vectors,
        "ranges": None if config.ranges is None else _stamp(Path(config.ranges)),
        "prompt_name": config.prompt_name,
        "dimensions": config.dimensions,
        "escape_formulas": config.escape_formulas,
        "seed": config.seed,
    }


def checkpoint_stamps(folder: Path) -> dict[str, str]:
    """What tells a checkpoint from another, and from what it was before; empty where there is no folder."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name: _stamp(file) for file in files if file.is_file()}


def _stamp(file: Path) -> str:
    """What tells a file from another, or from what it was before: path, size and time of the last change."""
    status = file.stat()
    return f"{real_path(file)} ({status.st_size} bytes, changed at {status.st_mtime_ns / 1e9:.6f})"
