"""latadj finetune: plain fine-tuning, then ACC, then adjustable fine-tuning along the dial."""

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from latadj import checkpoint
from latadj.calibration import make_dial, measure_contribution
from latadj.commands.session import Session, as_dict, set_up
from latadj.config import FinetuneConfig
from latadj.device import trains_in_bf16
from latadj.elimination.attach import attach, detach
from latadj.elimination.families import family_of
from latadj.elimination.profile import Dial
from latadj.files import read_json, write_json
from latadj.measure.environment import environment
from latadj.predict import predict
from latadj.sidecar import Sidecar
from latadj.tasks.data import load_splits
from latadj.tasks.encode import rows_of
from latadj.training import TEACHER, AdjustableLoss, fit

log = logging.getLogger("latadj")
STATE = "state.json"


def prepare(config: FinetuneConfig) -> Session:
    """Load examples and model: the pretrained one, or the plain one if that stage is done and ``resume`` is set."""
    if config.adjust.max_speedup < 1.1:
        raise ValueError(f"adjust.max_speedup={config.adjust.max_speedup}: expected at least 1.1")
    device = set_up(config)
    splits = load_splits(config.task)
    if config.resume and "plain" in _state(config):
        model, tokenizer = checkpoint.load(Path(config.folder) / "plain")
        detach(model)
    else:
        model, tokenizer = checkpoint.load_pretrained(config.model, config.task.labels, not config.task.labels)
    return Session(config, device, splits, model.to(device), tokenizer)


def run(session: Session) -> dict[str, Any]:
    """Fine-tune; ``folder/plain`` holds the plain model, ``folder/checkpoint`` the adjustable one.

    Returns
    -------
    what ``finetune/finetune.json`` holds
    """
    config, device = session.config, session.device
    assert isinstance(config, FinetuneConfig)
    model, tokenizer, splits = session.model, session.tokenizer, session.splits
    bf16 = trains_in_bf16(config.device, device)
    folder, work = Path(config.folder), Path(config.folder) / "finetune"
    done = _state(config) if config.resume else {}
    write_json(work / STATE, done)
    common: dict[str, Any] = {
        "task": config.task,
        "seed": config.seed,
        "bf16": bf16,
        "device": device,
        "resume": config.resume,
    }

    if "plain" not in done:
        done["plain"] = _timed(
            lambda: fit(
                model,
                tokenizer,
                session.encoded(splits.train),
                session.encoded(splits.validation),
                name="plain fine-tuning",
                folder=work / "plain",
                config=config.plain,
                **common,
            )
        )
        checkpoint.save(model, tokenizer, folder / "plain", Sidecar(task=config.task.name))
        write_json(work / STATE, done)
        shutil.rmtree(work / "plain", ignore_errors=True)

    if not config.adjustable:
        checkpoint.save(model, tokenizer, Path(config.checkpoint), Sidecar(task=config.task.name))
    elif "adjustable" not in done:
        done["adjustable"] = _timed(lambda: _adjust(session, config, work / "adjustable", common))
        write_json(work / STATE, done)
        shutil.rmtree(work / "adjustable", ignore_errors=True)

    result = {
        "schema": "latadj.finetune/1",
        "model": config.model.name,
        "task": config.task.name,
        "metric": config.task.metric,
        "validation": done,
        "environment": environment(device, "bf16 autocast" if bf16 else "fp32"),
        "config": as_dict(config),
    }
    write_json(work / "finetune.json", result)
    return result


def _adjust(session: Session, config: FinetuneConfig, work: Path, common: dict[str, Any]) -> dict[str, float]:
    """Adjustable fine-tuning of the session's plain model, saved with its dial."""
    set_seed(config.seed)
    model, tokenizer = session.model, session.tokenizer
    train = session.encoded(session.splits.train)
    autocast = torch.bfloat16 if common["bf16"] else None
    # The teacher never changes, so one pass over the examples serves all epochs.
    teacher = predict(model, tokenizer, train, autocast=autocast)
    train = train.add_column(TEACHER, teacher.tolist())
    attach(model)
    dial = _dial(session, config, train)
    attach(model, dial)
    for dropout in family_of(model).hidden_dropouts(model.base_model):
        dropout.p = config.adjust.dropout
    speedups = [speedup for speedup in (1.0, 1.5, 2.0, 3.0) if speedup <= dial.max_speedup]
    metrics = fit(
        model,
        tokenizer,
        train,
        session.encoded(session.splits.validation),
        name="adjustable fine-tuning",
        folder=work,
        config=config.adjust,
        speedups=speedups,
        loss=AdjustableLoss(dial, config.adjust, regression=not config.task.labels),
        **common,
    )
    # Contributions moved while the model was trained, so the dial is made anew.
    dial = _dial(session, config, train)
    detach(model)
    sidecar = Sidecar(config.task.name, dial, {"examples": config.calibration.examples, "seed": config.seed})
    checkpoint.save(model, tokenizer, Path(config.checkpoint), sidecar)
    return metrics


def _dial(session: Session, config: FinetuneConfig, train: Any) -> Dial:
    calibration = config.calibration
    rows = rows_of(train.shuffle(seed=config.seed).select(range(min(calibration.examples, len(train)))))
    autocast = torch.bfloat16 if trains_in_bf16(config.device, session.device) else None
    contribution = measure_contribution(
        session.model, session.tokenizer, rows, score=calibration.score, autocast=autocast
    )
    shown = ", ".join(f"{value:.2f}" for value in contribution.layer_acc)
    log.info("layer ACC on %d training examples: %s", len(rows), shown)
    return make_dial(session.model, contribution, max_speedup=calibration.max_speedup, score=calibration.score)


def _state(config: FinetuneConfig) -> dict[str, Any]:
    """Stages that are done, so that ``resume=true`` need not do them again."""
    path = Path(config.folder) / "finetune" / STATE
    try:
        state: dict[str, Any] = read_json(path, "fine-tuning state", "starting from the beginning")
    except ValueError:
        return {}
    return state


def _timed(stage: Any) -> dict[str, float]:
    start = time.monotonic()
    metrics = stage()
    return {**metrics, "seconds": round(time.monotonic() - start, 1)}
