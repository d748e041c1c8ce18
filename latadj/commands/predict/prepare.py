"""What `latadj predict` has ready before the first text: an input that is opened, and a model with its dial turned."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.model_class import label_names
from latadj.checkpoints.task_spec import TaskSpec, question_task
from latadj.commands.common.opening import begin
from latadj.config import EMBEDDING, PredictConfig
from latadj.devices import device
from latadj.devices.device import place
from latadj.elimination.attach import dial_of
from latadj.elimination.current_setting import set_speedup
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.inference.deadline import Deadline
from latadj.inference.deadline_counts import DeadlineCounts
from latadj.inference.device_clock import needs_clock, require_clock
from latadj.inference.fastest_runtime import with_fastest
from latadj.inference.graph_model import GraphModel, load_graphs
from latadj.inference.serving import make_ready
from latadj.inference.streams.engine import Engine
from latadj.inference.streams.layouts import Layout
from latadj.inference.streams.plan import Plan, batch_size_of, make_plan
from latadj.inference.streams.ranges import Ranges
from latadj.inference.streams.served_tasks import Labels, ServedTask
from latadj.inference.streams.writing import NPY, PARQUET, Paths, PredictState, output_format
from latadj.kernels.linear import KernelSpec
from latadj.runtime.manifest import is_exported
from latadj.tasks.encoding.batches import MOST_TOKENS, max_input_length
from latadj.utils.serialization import structure

log = logging.getLogger("latadj")
# Tokens of a text where neither the checkpoint nor the user says it.
MAX_LENGTH = 512


@dataclass
class Ready:
    """A model with its dial turned, and an input opened at where to go on; without a model nothing is left to do."""

    config: PredictConfig
    plan: Plan
    engine: Engine | None = None
    layout: Layout | None = None
    state: PredictState | None = None
    kernel: KernelSpec | None = None


def prepare(config: PredictConfig, checked: CheckpointMetadata | None = None) -> Ready:
    """Open the input, load the model, make it ready to serve and turn the dial.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them

    Raises
    ------
    ValueError
        if one of them is missing or does not fit, or a deadline is given on a device that was not measured.
    """
    begin(config)
    where = device.choose(config.device)
    if config.runtime == "auto":
        batch = config.batch_size or (batch_size_of(checked) if checked else None)
        config, checked = with_fastest(config, where, checked, batch=batch, speedup=_asked(config))
    plan = make_plan(config, checked)
    if plan.finished is not None:
        return Ready(config, plan)
    model, tokenizer = _loaded(plan, config, where)
    task_spec = plan.metadata.task_spec
    known = task_spec.max_length if task_spec else MAX_LENGTH
    if plan.task_type == EMBEDDING:
        known = MOST_TOKENS  # sentence-transformers says how much it reads, whatever the texts of its task
    limit = min(config.max_length or known, max_input_length(model.config, tokenizer))
    state = plan.state or PredictState(plan.settings)
    task = _served(config, plan, model, limit, state)
    task.check_fit(tokenizer, limit, len(plan.settings["text"] or [""]))
    spec = _serve(model, plan, config, state)
    layout = _layout(config, plan, task, model, tokenizer)
    engine = Engine(model, tokenizer, task, limit, plan.batch_size)
    if config.deadline_ms is not None:
        engine.deadline = Deadline(
            model,
            config.deadline_ms,
            quantile=config.deadline_quantile,
            max_speedup=config.max_speedup,
            max_drop=config.max_drop,
            confident=config.confident,
            longest=limit,
            counts=_counted(config, state),
        )
    return Ready(config, plan, engine, layout, state, spec)


def _asked(config: PredictConfig) -> float | None:
    """The speedup that is asked for; None where a deadline or ``max_drop`` picks it."""
    if config.deadline_ms is not None or config.max_drop is not None:
        return None
    return 1.0 if config.speedup is None else config.speedup


def _counted(config: PredictConfig, state: PredictState) -> DeadlineCounts:
    """What an interrupted run counted of its deadline."""
    try:
        return structure(DeadlineCounts, state.deadline)
    except ValueError as error:
        raise ValueError(f"{Paths(Path(config.output)).state}: deadline.{error}; {state.RESTART}") from error


def _layout(
    config: PredictConfig, plan: Plan, task: ServedTask, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Layout:
    """How the answers of a model that is ready to serve are written."""
    kind = output_format(config.output)
    written = (kind, task, config.id is not None, config.escape_formulas)
    if plan.task_type != EMBEDDING:
        return Layout(*written)
    from latadj.inference.streams.served_embeddings import Embeddings
    from latadj.inference.streams.vector_files import NpyLayout, ParquetLayout

    assert isinstance(task, Embeddings)
    vectors = (task.width(model, tokenizer), task.dtype)
    if kind == NPY:
        return NpyLayout(*written, *vectors)
    if kind == PARQUET:
        return ParquetLayout(*written, *vectors, plan.reader.key_type if plan.reader else None)
    return Layout(*written)


def _served(config: PredictConfig, plan: Plan, model: PreTrainedModel, limit: int, state: PredictState) -> ServedTask:
    """What the model answers, with the labels' names.

    Raises
    ------
    ValueError
        if it answers with several labels at a time, or a tag cannot be written.
    """
    task_spec, folder = plan.metadata.task_spec, config.checkpoint
    if plan.task_type == EMBEDDING:
        from latadj.inference.streams.served_embeddings import Embeddings, prompt_before

        ranges = state.ranges or (Ranges.read(Path(config.ranges)) if config.ranges else None)
        prompt = prompt_before(pipeline_of(model), config.prompt_name)
        return Embeddings(config.vectors or "float32", prompt, ranges, config.dimensions)
    if plan.task_type == "question_answering":
        protected = plan.dial is not None and plan.dial.protected > 0
        name, threshold = plan.metadata.task, config.null_threshold
        from latadj.inference.streams.served_answers import Spans  # labels need no library for data sets

        return Spans(question_task(task_spec, name, limit, protect_query=protected, threshold=threshold))
    names = label_names(model.config, task_spec.labels if task_spec else ())
    if plan.task_type == "token_classification":
        several = next((name for name in names if len(name.split()) != 1), None)
        if several is not None and output_format(config.output) == "csv":
            raise ValueError(
                f"output={config.output}: the tag {several!r} of checkpoint {folder} has a blank: write .jsonl"
            )
        from latadj.inference.streams.served_answers import Tags

        known = task_spec or TaskSpec(plan.task_type, ["words"], [], "entity_f1", limit, plan.batch_size)
        return Tags(replace(known, labels=list(names)).config(plan.metadata.task or ""))
    if model.config.problem_type == "multi_label_classification":
        raise ValueError(
            f"checkpoint {folder} gives a text several labels at a time: predict writes one, the likeliest"
        )
    return Labels(names, config.all_probabilities)


def _loaded(plan: Plan, config: PredictConfig, where: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The checkpoint, or the graphs, which are ready to serve."""
    folder = Path(config.checkpoint)
    if is_exported(folder):
        return load_graphs(
            *(folder, plan.metadata),
            dial=plan.dial,
            target=config.dial.target,
            batch=plan.batch_size,
            threads=config.device.asked_threads,
        )
    model, tokenizer = checkpoint.load(folder, head=plan.task_type, metadata=plan.metadata)
    return model.eval().to(where), tokenizer


def _serve(model: PreTrainedModel, plan: Plan, config: PredictConfig, state: PredictState) -> KernelSpec:
    """Lower the model and turn its dial; a run that goes on does so on the device and by the kernel of its start.

    Returns
    -------
    the kernel

    Raises
    ------
    ValueError
        if that is another device, the speedup is out of its reach, or it was not measured and a deadline is given.
    """
    graphs = isinstance(model, GraphModel)
    here = model.predictor.place if graphs else place(model.device)
    if state.serving and state.serving["place"] != here:
        raise ValueError(
            f"resume=true: this run began on {state.serving['place']}, and this is {here}: go on there, or "
            "overwrite=true starts anew"
        )
    spec = model.kernel if graphs else _lowered(model, plan, config, state, here)
    state.serving = {"place": here, "precision": spec.precision, "kernel": spec.kernel}
    if config.max_drop is not None and config.deadline_ms is None:
        plan.speedup = dial_of(model).within(config.max_drop, config.confident)
        log.info("max_drop=%g allows %.2fx, in %s", config.max_drop, plan.speedup, dial_of(model).target)
    if plan.dial is not None and plan.speedup is not None:
        set_speedup(model, plan.speedup)
    return spec


def _lowered(model: PreTrainedModel, plan: Plan, config: PredictConfig, state: PredictState, here: str) -> KernelSpec:
    """Lower a checkpoint's model; its dial is in this device's time from then on."""
    clock = (f"deadline_ms={config.deadline_ms or 0:g}", Path(config.checkpoint), plan.metadata)
    if config.deadline_ms is not None:
        require_clock(*clock, here, config.device.precision, config.batch_size)
    spec = make_ready(
        model,
        plan.metadata,
        plan.dial,
        model.device,
        precision=state.serving.get("precision", config.device.precision),
        target=config.dial.target,
        batch=plan.batch_size,
        kernel=state.serving.get("kernel"),
    )
    if config.deadline_ms is not None and dial_of(model).latency is None:
        where = f"another kernel than {spec.kernel}"
        raise ValueError(needs_clock(*clock, where, config.device.precision, config.batch_size))
    return spec
