"""latadj finetune: plain fine-tuning, then ACC, then adjustable fine-tuning along the dial."""

import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from transformers import set_seed

from latadj import checkpoint
from latadj.calibration import make_dial, measure_contribution, windows_to_try
from latadj.commands.session import Session, as_dict, head_of, set_up
from latadj.config import FinetuneConfig
from latadj.device import trains_in_bf16
from latadj.elimination.attach import attach, attached, detach
from latadj.elimination.families import family_of
from latadj.elimination.profile import WHOLE, Dial
from latadj.files import read_json, recover_folder, write_json
from latadj.measure.environment import environment
from latadj.predict import predict
from latadj.sidecar import Sidecar
from latadj.tasks.data import load_splits
from latadj.training import TEACHER, AdjustableLoss, fit

log = logging.getLogger("latadj")
SETTINGS = ("model", "task", "prompt", "seed", "adjustable", "plain", "adjust", "calibration")


@dataclass
class State:
    """How far a run has come, so that ``resume=true`` need not do a stage again.

    run : a name of its own, which its plain model and its checkpoint carry too
    settings : what the run was started with; only a run with the same may go on
    stages : validation metrics of the stages that are done
    """

    run: str
    settings: dict[str, Any]
    stages: dict[str, Any]

    @classmethod
    def of(cls, config: FinetuneConfig) -> "State":
        """The state to go on from with ``resume``, else that of a new run.

        Raises
        ------
        ValueError
            if the run to go on with was started with other settings.
        """
        path = Path(config.folder) / "finetune" / "state.json"
        settings = json.loads(json.dumps({key: as_dict(config)[key] for key in SETTINGS}))
        if not config.resume or not path.is_file():
            return cls(uuid4().hex, settings, {})
        found = cls(**read_json(path, "fine-tuning state", "start anew without resume=true"))
        changed = [key for key in SETTINGS if found.settings.get(key) != settings[key]]
        if changed:
            raise ValueError(
                f"resume=true: the run in {config.folder} was started with other settings ({', '.join(changed)}); "
                "give the same ones, or start anew without resume=true"
            )
        for stage, made in (("plain", Path(config.folder) / "plain"), ("adjustable", Path(config.checkpoint))):
            recover_folder(made)
            if not made.is_dir():
                found.stages.pop(stage, None)
        return found

    def write(self, work: Path) -> None:
        """Write the state into the run's folder."""
        write_json(work / "state.json", asdict(self))


def prepare(config: FinetuneConfig) -> Session:
    """Load examples and model: the pretrained one, or the plain one if that stage is done and ``resume`` is set."""
    device = set_up(config)
    splits = load_splits(config.task)
    if "plain" in State.of(config).stages:
        model, tokenizer = checkpoint.load(Path(config.folder) / "plain", head=head_of(config))
        detach(model)
    else:
        labels = config.task.labels
        model, tokenizer = checkpoint.load_pretrained(config.model, labels, not labels, head=head_of(config))
    session = Session(config, device, splits, model.to(device), tokenizer)
    session.prompts  # noqa: B018  a prompt that does not fit is refused before anything is written
    return session


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
    state = State.of(config)
    done = state.stages
    if not config.resume:
        shutil.rmtree(work / "plain", ignore_errors=True)
        shutil.rmtree(work / "adjustable", ignore_errors=True)
    state.write(work)
    notes = {"run": state.run, "seed": config.seed}
    common: dict[str, Any] = {
        "task": config.task,
        "seed": config.seed,
        "bf16": bf16,
        "device": device,
        "resume": config.resume,
        "outputs": session.outputs,
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
        checkpoint.save(model, tokenizer, folder / "plain", Sidecar(config.task.name, notes=notes))
        state.write(work)
        shutil.rmtree(work / "plain", ignore_errors=True)

    if not config.adjustable:
        checkpoint.save(model, tokenizer, Path(config.checkpoint), Sidecar(config.task.name, notes=notes))
    elif "adjustable" not in done:
        done["adjustable"] = _timed(lambda: _adjust(session, config, work / "adjustable", common, notes))
        state.write(work)
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


def _adjust(
    session: Session, config: FinetuneConfig, work: Path, common: dict[str, Any], notes: dict[str, Any]
) -> dict[str, float]:
    """Adjustable fine-tuning of the session's plain model, saved with its dial."""
    set_seed(config.seed)
    model, tokenizer = session.model, session.tokenizer
    train = session.encoded(session.splits.train)
    autocast = torch.bfloat16 if common["bf16"] else None
    # The teacher never changes, so one pass over the examples serves all epochs.
    teacher = predict(model, tokenizer, train, outputs=session.outputs.raw(), autocast=autocast)
    train = train.add_column(TEACHER, teacher.tolist())
    attach(model)
    dial = _dial(session, config)
    attach(model, dial)
    for dropout in family_of(model).hidden_dropouts(model):
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
        loss=AdjustableLoss(dial, config.adjust, regression=not config.task.labels, outputs=session.outputs),
        **common,
    )
    # Contributions moved while the model was trained, so the dial is made anew.
    dial = _dial(session, config)
    detach(model)
    checkpoint.save(model, tokenizer, Path(config.checkpoint), Sidecar(config.task.name, dial, notes))
    return metrics


def _dial(session: Session, config: FinetuneConfig) -> Dial:
    calibration, model = config.calibration, session.model
    autocast = torch.bfloat16 if trains_in_bf16(config.device, session.device) else None
    questions = session.questions(calibration.examples, autocast=autocast)
    window = windows_to_try(calibration)[0] if attached(model).family.causal else WHOLE
    contribution = measure_contribution(model, questions, score=calibration.score, window=window)
    shown = ", ".join(f"{value:.2f}" for value in contribution.layer_acc)
    log.info("layer ACC on %d training examples: %s", len(questions.lengths), shown)
    return make_dial(model, contribution, calibration, window)


def _timed(stage: Any) -> dict[str, float]:
    start = time.monotonic()
    metrics = stage()
    return {**metrics, "seconds": round(time.monotonic() - start, 1)}
