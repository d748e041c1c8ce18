"""What tests of `latadj prune` have in common: a fine-tuned toy model, a quick search, a kill."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.made_once import made_once

import latadj
from latadj.commands.prune.pruning_model import PruningModel
from latadj.commands.prune.state import PruneState
from latadj.training import fit

SPLIT = "task.split={train:0.6,validation:0.4}"
QUICK = ["prune.groups=2", "prune.examples=64", "prune.gradient_examples=64", "recover.learning_rate=1e-3"]
# On every machine alike: `auto` is bf16 where the device computes in it.
EXACT = "device.train_precision=fp32"


class KilledError(Exception):
    pass


def write_plain(root: Path) -> Path:
    """The toy project inside ``root``, with a plain fine-tuned model of two layers in ``out/plain``."""
    toy.write_model(root / "model", layers=2)
    toy.write_task(root / "data")
    learning = ["plain.epochs=16", "plain.patience=16", "model.learning_rate=2e-3", "plain.warmup=0"]
    run("finetune", *toy.overrides(root), "adjustable=false", *learning, SPLIT)
    return root


def plain_project(factory: pytest.TempPathFactory) -> Path:
    """A copy of what :func:`write_plain` makes."""
    return made_once(factory, "plain", write_plain)


def pruned(
    root: Path, out: Path, *options: str, expect: int = 0, recovery: tuple[str, ...] = ("prune.recover_epochs=1",)
) -> Any:
    """What `latadj prune` says in its result, or, where it is to fail, on the terminal."""
    common = [*toy.overrides(root), f"checkpoint={root / 'out' / 'plain'}", f"folder={out}", SPLIT, *QUICK, EXACT]
    common += recovery
    result = run("prune", *common, *options, expect=expect)
    if expect:
        return result
    return json.loads((out / "prune" / "prune.json").read_text())


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether two results agree in all but where and when they were made."""
    left_out = ("seconds", "environment", "config")
    ours, theirs = (
        copy.deepcopy({name: value for name, value in found.items() if name not in left_out})
        for found in (ours, theirs)
    )
    for found in (ours, theirs):
        for model in found["frontier"]:
            model.pop("folder")
    return ours == theirs


def same_weights(ours: Path, theirs: Path) -> bool:
    """Whether two saved models agree to the last bit."""
    found, wanted = (latadj.load(folder, precision=None)[0].state_dict() for folder in (ours, theirs))
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, when: Callable[[PruneState], bool]) -> Iterator[None]:
    """A run inside the block, killed as soon as it has written a state of which ``when`` is true."""
    whole = PruneState.save

    def save(state, work, model=None):
        whole(state, work, model)
        if when(state):
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(PruneState, "save", save)
        yield


@contextmanager
def killed_in(monkeypatch: pytest.MonkeyPatch, training: str, *, step: int) -> Iterator[None]:
    """A run inside the block, killed after a step of the training of that name."""
    whole = fit.StepProgressCallback.on_step_end

    def on_step_end(shown, args, state, control, **kwargs):
        whole(shown, args, state, control, **kwargs)
        if shown.name == training and state.global_step == step:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(fit.StepProgressCallback, "on_step_end", on_step_end)
        yield


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, *, recoveries: int) -> Iterator[None]:
    """A run inside the block, killed right after so many last recoveries, before its state says that they ended."""
    whole, ended = PruningModel.recover, []

    def recover(model, step, *, last):
        whole(model, step, last=last)
        ended.extend([step] if last else [])
        if len(ended) == recoveries:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(PruningModel, "recover", recover)
        yield
