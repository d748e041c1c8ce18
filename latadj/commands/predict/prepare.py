"""What `latadj predict` has ready before the first text: an input that is opened, and a model with its dial turned."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.common.opening import begin
from latadj.config import EMBEDDING, PredictConfig
from latadj.devices import device
from latadj.inference.fastest_runtime import with_fastest
from latadj.inference.streams.engine import Engine
from latadj.inference.streams.layouts import Layout
from latadj.inference.streams.opening import open_engine
from latadj.inference.streams.plan import Plan, batch_size_of, make_plan
from latadj.inference.streams.writing import NPY, PARQUET, Paths, PredictState, output_format
from latadj.kernels.linear import KernelSpec
from latadj.utils.locks import only_writer


@dataclass
class Ready:
    """A model with its dial turned, and an input opened at where to go on; without a model nothing is left to do."""

    config: PredictConfig
    plan: Plan
    engine: Engine | None = None
    layout: Layout | None = None
    state: PredictState | None = None
    kernel: KernelSpec | None = None


def open_stream(config: PredictConfig, checked: CheckpointMetadata | None = None) -> Ready:
    """Open the input, load the model, make it ready to serve and turn the dial.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them

    Raises
    ------
    ValueError
        if one of them is missing or does not fit, or a deadline is given on a device that was not measured.
    """
    where = device.choose(config.device)
    plan = make_plan(config, checked)
    if plan.finished is not None:
        return Ready(config, plan)
    state = plan.state or PredictState(plan.settings)
    engine, spec = open_engine(config, plan, state, where, len(plan.settings["text"] or [""]))
    layout = _layout(config, plan, engine)
    return Ready(config, plan, engine, layout, state, spec)


def begun(config: PredictConfig, checked: CheckpointMetadata | None) -> tuple[PredictConfig, CheckpointMetadata | None]:
    """Begin the command; with ``runtime=auto`` the config names what is the fastest here from then on.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them
    """
    begin(config)
    if config.runtime != "auto":
        return config, checked
    batch = config.batch_size or (batch_size_of(checked) if checked else None)
    return with_fastest(config, device.choose(config.device), checked, batch=batch, speedup=_asked(config))


def _asked(config: PredictConfig) -> float | None:
    """The speedup that is asked for; None where a deadline or ``max_drop`` picks it."""
    if config.deadline_ms is not None or config.max_drop is not None:
        return None
    return 1.0 if config.speedup is None else config.speedup


def _layout(config: PredictConfig, plan: Plan, engine: Engine) -> Layout:
    """How the answers of a model that is ready to serve are written."""
    kind, task = output_format(config.output), engine.task
    written = (kind, task, config.id is not None, config.escape_formulas)
    if plan.task_type != EMBEDDING:
        return Layout(*written)
    from latadj.inference.streams.served_embeddings import Embeddings
    from latadj.inference.streams.vector_files import NpyLayout, ParquetLayout

    assert isinstance(task, Embeddings)
    vectors = (task.width(engine.model, engine.tokenizer), task.dtype)
    if kind == NPY:
        return NpyLayout(*written, *vectors)
    if kind == PARQUET:
        return ParquetLayout(*written, *vectors, plan.reader.key_type if plan.reader else None)
    return Layout(*written)


def alone(output: Path, config: PredictConfig) -> AbstractContextManager[None]:
    """Hold the output: two runs would write into one part file, or into one folder."""
    return only_writer(Paths(output).lock, f"output={config.output}", remove=True)
