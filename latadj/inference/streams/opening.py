"""Opens a model for a stream of texts: loaded, ready to serve, its dial turned, with what it reads and answers."""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.model_class import label_names
from latadj.checkpoints.task_spec import TaskSpec, question_task
from latadj.config import EMBEDDING, PredictConfig
from latadj.devices import device
from latadj.devices.device import place
from latadj.elimination.attach import dial_of
from latadj.elimination.current_setting import set_speedup
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.inference.deadline import Deadline
from latadj.inference.deadline_counts import DeadlineCounts
from latadj.inference.device_clock import needs_clock, require_clock
from latadj.inference.graph_model import GraphModel, load_graphs
from latadj.inference.serving import make_ready
from latadj.inference.streams.engine import Engine
from latadj.inference.streams.plan import ModelPlan, plan_model
from latadj.inference.streams.ranges import Ranges
from latadj.inference.streams.served_tasks import Labels, ServedTask
from latadj.inference.streams.writing import Paths, PredictState, output_format
from latadj.kernels.linear import KernelSpec
from latadj.runtime.manifest import is_exported
from latadj.tasks.encoding.batches import MOST_TOKENS, max_input_length
from latadj.utils.serialization import structure

log = logging.getLogger("latadj")
# Tokens of a text where neither the checkpoint nor the user says it.
MAX_LENGTH = 512
# In the name of a place.
THREADS = re.compile(r", (\d+) threads,")


@dataclass(frozen=True)
class Opened:
    """A model that answers.

    plan, kernel : what it was opened by, and runs by
    serving : what it is served on, as a run's state has it
    """

    plan: ModelPlan
    engine: Engine
    kernel: KernelSpec
    serving: dict[str, str]


def open_model(config: PredictConfig, serving: dict[str, str] | None = None) -> Opened:
    """Open the model of a config by itself, without an input.

    Parameters
    ----------
    serving : ``place``, ``precision`` and ``kernel`` that it must be served on; None: as is best here

    Raises
    ------
    ValueError
        as :func:`open_engine`.
    """
    where = device.choose(config.device)
    plan = plan_model(config)
    state = PredictState({}, dict(serving or {}))
    engine, kernel = open_engine(config, plan, state, where, len(plan.text_columns) or 1)
    return Opened(plan, engine, kernel, state.serving)


def open_engine(
    config: PredictConfig, plan: ModelPlan, state: PredictState, where: torch.device, texts: int
) -> tuple[Engine, KernelSpec]:
    """Load a model, make it ready to serve and turn its dial.

    Parameters
    ----------
    state : of the run that it answers for; it learns what the model is served on
    where : the device
    texts : texts of a row

    Returns
    -------
    what answers, and the kernel that it runs by

    Raises
    ------
    ValueError
        if something of it does not fit, or a deadline is given on a device that was not measured.
    """
    model, tokenizer = _loaded(plan, config, where)
    task_spec = plan.metadata.task_spec
    known = task_spec.max_length if task_spec else MAX_LENGTH
    if plan.task_type == EMBEDDING:
        known = MOST_TOKENS  # sentence-transformers says how much it reads, whatever the texts of its task
    limit = min(config.max_length or known, max_input_length(model.config, tokenizer))
    task = _served(config, plan, model, limit, state)
    task.check_fit(tokenizer, limit, texts)
    spec = _serve(model, plan, config, state)
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
    return engine, spec


def _counted(config: PredictConfig, state: PredictState) -> DeadlineCounts:
    """What an interrupted run counted of its deadline."""
    try:
        return structure(DeadlineCounts, state.deadline)
    except ValueError as error:
        raise ValueError(f"{Paths(Path(config.output)).state}: deadline.{error}; {state.RESTART}") from error


def _served(
    config: PredictConfig, plan: ModelPlan, model: PreTrainedModel, limit: int, state: PredictState
) -> ServedTask:
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
        if several is not None and config.engine == "local" and output_format(config.output) == "csv":
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


def _loaded(
    plan: ModelPlan, config: PredictConfig, where: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
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


def _serve(model: PreTrainedModel, plan: ModelPlan, config: PredictConfig, state: PredictState) -> KernelSpec:
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
        _refuse_other_place(config, plan, state, here)
        # Blocks of one output are of one precision, whatever is the fastest here.
        state.serving = {"precision": state.serving["precision"]}
    spec = model.kernel if graphs else _lowered(model, plan, config, state, here)
    state.serving = {"place": here, "precision": spec.precision, "kernel": spec.kernel}
    if config.max_drop is not None and config.deadline_ms is None:
        plan.speedup = dial_of(model).within(config.max_drop, config.confident)
        log.info("max_drop=%g allows %.2fx, in %s", config.max_drop, plan.speedup, dial_of(model).target)
    if plan.dial is not None and plan.speedup is not None:
        set_speedup(model, plan.speedup)
    return spec


def _refuse_other_place(config: PredictConfig, plan: ModelPlan, state: PredictState, here: str) -> None:
    """Refuse a device on which answers would differ from those that there are."""
    before = state.serving["place"]
    threads = _other_threads(before, here)
    if config.engine == "local":
        there = "go on there" if threads is None else f"go on with device.threads={threads}"
        raise ValueError(
            f"resume=true: this run began on {before}, and this is {here}: {there}, or overwrite=true starts anew"
        )
    if plan.dial is not None and plan.speedup != 1.0 and config.dial.target == "latency":
        kind = "kind of device" if threads is None else "number of threads"
        mend = "use machines of one kind" if threads is None else f"give device.threads={threads}"
        raise ValueError(
            f"a speedup in time is another profile on each {kind}: this run began on {before}, and one of its "
            f"processes is on {here}: {mend}, or dial.target=flops"
        )


def _other_threads(before: str, here: str) -> int | None:
    """The threads of a place, if it differs from another in these alone."""
    found = THREADS.search(before)
    return int(found[1]) if found and THREADS.sub("", before) == THREADS.sub("", here) else None


def _lowered(
    model: PreTrainedModel, plan: ModelPlan, config: PredictConfig, state: PredictState, here: str
) -> KernelSpec:
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
