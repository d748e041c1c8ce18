"""latadj finetune: plain fine-tuning, then ACC, then adjustable fine-tuning along the dial."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import set_seed

from latadj.calibration.make_dial import make_dial, measure_contribution, windows_to_try
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, read_metadata
from latadj.commands.common.resume import FinetuneState
from latadj.commands.common.session import Session, enough, known_labels, set_up, with_examples
from latadj.commands.common.training_checks import check_teacher
from latadj.commands.common.training_stages import (
    attention_dropped,
    distillation_rows,
    say_replaced,
    taught_sizes,
    teacher,
    training_rows,
)
from latadj.config import FinetuneConfig, StageConfig
from latadj.devices import ranks
from latadj.devices.environment import environment
from latadj.devices.precision_probe import training_step, trains_in_bf16
from latadj.elimination.architectures import architecture_of, refuse_shared_weights
from latadj.elimination.attach import as_plain, attach, attached
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import with_levels
from latadj.elimination.observation_window import WHOLE
from latadj.pruning import order_by, reorder
from latadj.tasks.encoding.batches import Batch
from latadj.training.fit import fit
from latadj.training.head_objective import AdjustableLoss, head_objective
from latadj.training.language_objective import AdjustableLanguageLoss, cache_teacher_states, language_objective
from latadj.training.objective import Loss, TrainingObjective
from latadj.training.significance import gradient_batches, significance_of
from latadj.training.trackers import Trackers
from latadj.utils.console import progress
from latadj.utils.files import write_json
from latadj.utils.run_state import remove_matching

log = logging.getLogger("latadj")
# Training texts whose gradients order heads and neurons, and speedups that have levels before a search.
GRADIENT_EXAMPLES = 512
LEVELLED = (1.5, 2.0, 3.0, 4.0, 5.0)


def prepare(config: FinetuneConfig) -> Session:
    """Load examples and model: the pretrained one, or the plain one if that stage is done and ``resume`` is set."""
    device = set_up(config)
    source, keep_head = Path(config.model.path), config.plain.epochs == 0
    known = known_labels(config, source, read_metadata(source)) if keep_head and source.is_dir() else None
    config, splits = with_examples(config, known)
    if "plain" in FinetuneState.of(config, splits).stages:
        model, tokenizer = checkpoint.load(Path(config.folder) / "plain", head=config.head)
        as_plain(model)
    else:
        labels, head = config.task.labels or [], config.head
        model, tokenizer = checkpoint.load_pretrained(config.model, labels, not labels, head=head, keep_head=keep_head)
    check_teacher(config)
    session = Session(config, device, splits, model.to(device), tokenizer)
    session.check()
    if config.adjustable and config.adjust.narrows:
        refuse_shared_weights(architecture_of(session.model), type(session.model).__name__)
    teacher(session)
    taught_sizes(session, config.adjust)  # refused before any training
    splits.fingerprint  # noqa: B018  of the texts alone, before anything stands beside them
    splits.validation = session.with_references(splits.validation, session.model)
    return session


def run(session: Session) -> dict[str, Any]:
    """Fine-tune; ``folder/plain`` holds the plain model, ``folder/checkpoint`` the adjustable one.

    Returns
    -------
    what ``finetune/finetune.json`` holds
    """
    config, device = session.config, session.device
    assert isinstance(config, FinetuneConfig)
    model, tokenizer, first = session.model, session.tokenizer, ranks.rank() == 0
    bf16 = ranks.agreed(trains_in_bf16(config.device, device))
    if config.device.train_precision == "auto" and device.type != "mps":
        log.info("training in %s: a layer's step takes %s here", "bf16" if bf16 else "fp32", training_step(device))
    if ranks.size() > 1:
        log.info("training in %d processes, which share each batch", ranks.size())
        # Each has measured for itself.
        chosen = replace(config.device, train_precision="bf16" if bf16 else "fp32")
        session.config = config = replace(config, device=chosen)
    folder, work = Path(config.folder), Path(config.folder) / "finetune"
    state = ranks.on_first(lambda: FinetuneState.of(config, session.splits))
    done = state.stages
    if first:
        if not config.resume:
            say_replaced([folder / "plain", Path(config.checkpoint)])
            remove_matching(work, "plain", "adjustable")
        state.write(work / "state.json")
    if config.task.labels:
        log.info("%d labels: %s", len(config.task.labels), ", ".join(config.task.labels[:20]))
    common: dict[str, Any] = {"seed": config.seed, "bf16": bf16, "device": device, "resume": config.resume}
    common["trackers"] = trackers = Trackers(tuple(config.report_to) if first else (), folder)
    if first and not config.resume:
        trackers.forget()

    if trained := "plain" not in done:
        done["plain"] = _timed(lambda: _plain(session, config, work / "plain", common))
        if first:
            checkpoint.save(model, tokenizer, folder / "plain", _metadata(config, state))
            state.write(work / "state.json")
            remove_matching(work, "plain")

    if not config.adjustable:
        # One that is of this run already may have a dial by now, from `latadj calibrate`.
        if first and (trained or not _made_by(Path(config.checkpoint), state)):
            checkpoint.save(model, tokenizer, Path(config.checkpoint), _metadata(config, state))
    elif "adjustable" not in done:
        start = time.monotonic()
        metrics, dial = _adjust(session, config, work / "adjustable", common)
        done["adjustable"] = {**metrics, "seconds": round(time.monotonic() - start, 1)}
        if first:
            checkpoint.save(model, tokenizer, Path(config.checkpoint), _metadata(config, state, dial))
            state.write(work / "state.json")
            remove_matching(work, "adjustable")

    result = {
        "schema": "latadj.finetune/1",
        "model": config.model.name,
        "task": config.task.name,
        "metric": config.task.metric,
        "validation": done,
        "processes": ranks.size(),
        "environment": environment(device, "bf16 autocast" if bf16 else "fp32"),
        "config": asdict(config),
    }
    if first:
        write_json(work / "finetune.json", result)
    beside = f", the plain one to {folder / 'plain'}" if config.adjustable else ""
    log.info("wrote the model to %s%s", config.checkpoint, beside)
    return result


def _plain(session: Session, config: FinetuneConfig, work: Path, common: dict[str, Any]) -> dict[str, float]:
    """Fine-tuning of the session's model as transformers runs it; no epochs leave it unchanged."""
    stage = config.plain
    if stage.epochs == 0:
        return {}
    train, objective = training_rows(session, stage), _objective(session, stage)
    with attention_dropped(session, stage):
        return fit(
            session.model,
            session.tokenizer,
            train,
            objective,
            name="plain fine-tuning",
            output_dir=work,
            config=stage,
            **common,
        )


def _adjust(
    session: Session, config: FinetuneConfig, work: Path, common: dict[str, Any]
) -> tuple[dict[str, float], Dial]:
    """Adjustable fine-tuning of the session's plain model; its dial comes with the metrics."""
    set_seed(config.seed)
    model, tokenizer, stage = session.model, session.tokenizer, config.adjust
    train, loss_of = _distillation(session, config)
    if stage.narrows:
        _order_units(session, config)
    attach(model)
    dial = _dial(session, config)
    attach(model, dial)
    for dropout in architecture_of(model).hidden_dropouts(model):
        dropout.p = stage.dropout
    with attention_dropped(session, stage):
        metrics = fit(
            model,
            tokenizer,
            train,
            _objective(session, stage, loss_of(dial)),
            name="adjustable fine-tuning",
            output_dir=work,
            config=stage,
            speedups=[speedup for speedup in (1.0, 1.5, 2.0, 3.0) if dial.reaches(speedup)],
            **common,
        )
    # Training changed the contributions, so the dial is made anew.
    dial = _dial(session, config)
    as_plain(model)
    return metrics, dial


def _order_units(session: Session, config: FinetuneConfig) -> None:
    """Bring the heads and neurons of the plain model into the order of their significance on training text."""
    model, autocast, device = session.model, session.training_dtype, session.device
    objective = _objective(session, config.plain)
    train = session.encoded(session.splits.train.shuffle(seed=config.seed))
    rows = train.select(range(min(GRADIENT_EXAMPLES, len(train)))).to_list()
    batches = gradient_batches(rows[: enough([len(row["input_ids"]) for row in rows])], objective.collate, device)

    def loss(batch: Batch) -> Tensor:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            found: Tensor = objective.loss(model, batch) if objective.loss else model(**batch).loss
        return found.float()

    with progress("order of heads and neurons", len(batches)) as steps:

        def counted(batch: Batch) -> Tensor:
            steps.advance()
            return loss(batch)

        reorder(model, ranks.agreed(order_by(model, significance_of(model, batches, counted))))


def _objective(session: Session, stage: StageConfig, loss: Loss | None = None) -> TrainingObjective:
    """The training objective of the session's task."""
    task, examples, autocast = session.config.task, session.splits.validation, session.training_dtype
    validation = session.encoded(examples)
    if not session.task_type.scores_continuations:
        return head_objective(
            *(session.task_type, session.tokenizer, examples, validation),
            loss=loss,
            outputs=session.outputs,
            autocast=autocast,
        )
    if stage.eval_examples is not None and stage.eval_examples < len(validation):
        validation = validation.shuffle(seed=session.config.seed).select(range(stage.eval_examples))
    return language_objective(session.model, validation.to_list(), task, loss=loss, autocast=autocast)


def _distillation(
    session: Session, config: FinetuneConfig
) -> tuple[Dataset | list[dict[str, Any]], Callable[[Dial], Loss]]:
    """Training examples with their teacher's outputs, and the loss for a dial."""
    if not session.task_type.scores_continuations:
        beginnings = taught_sizes(session, config.adjust)
        rows, outputs = distillation_rows(session, config.adjust, config.adjust.state_loss_weight, beginnings)
        return rows, lambda dial: AdjustableLoss(dial, config.adjust, outputs)
    train, size = training_rows(session, config.adjust).to_list(), config.task.batch_size
    with progress("teacher", len(train)) as steps:
        answers, prompts = cache_teacher_states(
            teacher(session), train, batch_size=size, autocast=session.training_dtype, advance=steps.advance
        )
    return prompts, lambda dial: AdjustableLanguageLoss(dial, config.adjust, answers)


def _dial(session: Session, config: FinetuneConfig) -> Dial:
    calibration, model = config.calibration, session.model
    examples = session.calibration_set(calibration.examples, autocast=session.training_dtype)
    window = windows_to_try(calibration)[0] if attached(model).architecture.causal else WHOLE
    # The last digits may differ between machines, and a dial that differs would have each train other profiles.
    contribution = ranks.agreed(measure_contribution(model, examples, score=calibration.score, window=window))
    shown = ", ".join(f"{value:.2f}" for value in contribution.layer_acc)
    log.info("layer ACC on %d training examples: %s", len(examples.lengths), shown)
    widths = config.adjust.widths if config.adjust.narrows else ()
    dial = make_dial(model, contribution, calibration, window, widths)
    return with_levels(dial, LEVELLED) if widths else dial


def _metadata(config: FinetuneConfig, state: FinetuneState, dial: Dial | None = None) -> CheckpointMetadata:
    """The metadata beside the weights: the run that made them, the run they come from, validation metrics."""
    notes = {"run": state.run, "seed": config.seed, "validation": dict(state.stages)}
    source = Path(config.model.path)
    if source.is_dir():
        before = read_metadata(source)
        # Plain fine-tuning makes another model of what it begins with.
        origin = None if config.plain.epochs else before.origin
        inherited = {"origin": origin, "pruned": before.notes.get("pruned")}
        notes |= {name: value for name, value in inherited.items() if value}
    return CheckpointMetadata.of(config.task, dial, notes)


def _made_by(folder: Path, state: FinetuneState) -> bool:
    """Whether a checkpoint is there, and of this run."""
    return folder.is_dir() and read_metadata(folder).notes.get("run") == state.run


def _timed(stage: Any) -> dict[str, float]:
    start = time.monotonic()
    metrics = stage()
    return {**metrics, "seconds": round(time.monotonic() - start, 1)}
