"""Trainer's checkpoints: which of them is whole, and the state that a training goes on with."""

import inspect
import logging
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from latadj.checkpoints.weight_files import weight_files
from latadj.utils.files import load_json, write_json
from latadj.utils.serialization import NOT_NEGATIVE, structure

log = logging.getLogger("latadj")
# The file that Trainer writes last in a checkpoint.
TRAINER_STATE = "trainer_state.json"
OPTIMIZER, SCHEDULER, RNG = "optimizer.pt", "scheduler.pt", "rng_state.pth"
# One for each of several processes.
RNG_OF_EACH = "rng_state_*.pth"
_NUMBERED = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")
# Callbacks whose state Trainer restores, by calling them with what a checkpoint says.
_RESTORED: dict[str, Any] = {"EarlyStoppingCallback": EarlyStoppingCallback, "TrainerControl": TrainerControl}

Step = Annotated[int, NOT_NEGATIVE]


class _Logged(TypedDict, total=False):
    step: Step
    eval_score: float


class _Restored(TypedDict):
    args: dict[str, bool | int | float | None]
    attributes: dict[str, bool | int | float | None]


class _Needed(TypedDict):
    epoch: float | None
    global_step: Step
    max_steps: Step
    log_history: list[_Logged]


class _State(_Needed, total=False):
    """``transformers.TrainerState`` in JSON, as far as a training that goes on reads it."""

    num_train_epochs: float
    num_input_tokens_seen: Step
    total_flos: float
    train_batch_size: int | None
    logging_steps: float
    eval_steps: float
    save_steps: float
    best_metric: float | None
    best_global_step: Step | None
    best_model_checkpoint: str | None
    is_local_process_zero: bool
    is_world_process_zero: bool
    is_hyper_param_search: bool
    trial_name: str | None
    stateful_callbacks: dict[str, Any] | None


def last_whole_checkpoint(folder: Path, model: nn.Module, *checks: Callable[[Path], None]) -> Path | None:
    """The last checkpoint of which all files can be read; None if there is none.

    One that was cut short by a kill is removed. Other damaged ones are set aside under another name, since Trainer
    would take them for newer than what it saves next.

    Parameters
    ----------
    model : to which its weights have to fit
    checks : what callbacks need of it; each raises ``ValueError``
    """
    for path in sorted(_numbered(folder), key=_step, reverse=True):
        if not (path / TRAINER_STATE).is_file():
            log.warning("left out %s, which was cut short", path)
            shutil.rmtree(path)
            continue
        try:
            check_whole(path, model)
            for check in checks:
                check(path)
        except ValueError as error:
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.replace(aside)
            log.warning("left out %s, which is damaged (%s); it is %s now", path, error, aside.name)
            continue
        return path
    return None


def _numbered(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if _NUMBERED.fullmatch(path.name) and path.is_dir())


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])


def check_whole(path: Path, model: nn.Module) -> None:
    """Refuse a checkpoint that cannot be gone on with.

    Raises
    ------
    ValueError
        naming the file.
    """
    _read_state(path)
    check_weights(path, model)
    for name, keys in ((OPTIMIZER, ("state", "param_groups")), (SCHEDULER, ("last_epoch",))):
        saved = _unpickled(path / name)
        if not isinstance(saved, dict) or any(key not in saved for key in keys):
            raise ValueError(f"{name} holds no {' and '.join(keys)}")
    for state in [*path.glob(RNG_OF_EACH)] or [path / RNG]:
        try:
            with zipfile.ZipFile(state) as file:
                broken = file.testzip()
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{state.name}: {error}") from error
        if broken is not None:
            raise ValueError(f"{state.name}: {broken} is damaged")


def check_weights(path: Path, model: nn.Module) -> None:
    """Refuse a checkpoint whose weights are not those of a model of this shape.

    Raises
    ------
    ValueError
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(path):
        shapes |= shapes_in(file)
    own = model.state_dict()
    for name, shape in shapes.items():
        if name not in own or tuple(own[name].shape) != shape:
            raise ValueError(f"its weights are of another model: {name} of shape {shape}")
    there = {own[name].data_ptr() for name in shapes}
    if missing := [name for name, weight in own.items() if name not in shapes and weight.data_ptr() not in there]:
        raise ValueError(f"its weights lack {missing[0]}")


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file.

    Raises
    ------
    ValueError
        if it is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no dict
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def _unpickled(path: Path) -> Any:
    """What ``torch.save`` wrote, of which the tensors are not read; nothing but tensors and plain values is made."""
    try:
        # Of zip files torch checks no sums, so that a flipped bit would go into the weights.
        with zipfile.ZipFile(path) as file:
            if (broken := file.testzip()) is not None:
                raise ValueError(f"{path.name}: {broken} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).strip() or type(error).__name__
        raise ValueError(f"{path.name}: {reason.splitlines()[0]}") from error


def _read_state(path: Path) -> dict[str, Any]:
    # Trainer writes NaN where a loss was none.
    state = load_json(path / TRAINER_STATE, finite=False)
    structure(_State, state)
    if unknown := state.keys() - {field.name for field in fields(TrainerState)}:
        raise ValueError(f"{TRAINER_STATE}: {min(unknown)}: no such field")
    if state["global_step"] != _step(path):
        raise ValueError(f"{TRAINER_STATE}: global_step {state['global_step']} is not that of its folder")
    for name, callback in _RESTORED.items():
        restored = (state.get("stateful_callbacks") or {}).get(name)
        if restored is None:
            continue
        structure(_Restored, restored)
        if unknown := restored["args"].keys() - inspect.signature(callback).parameters.keys():
            raise ValueError(f"{TRAINER_STATE}: stateful_callbacks.{name}.args: {min(unknown)}: no such field")
    return dict(state)


def load_trainer_state(last: Path, model: nn.Module, *checks: Callable[[Path], None]) -> TrainerState:
    """The state to resume a training with, from a whole checkpoint that may have been moved since.

    Where the checkpoint of the best validation is gone or damaged, the best of those to come is taken.

    Parameters
    ----------
    model, checks : as in :func:`last_whole_checkpoint`
    """
    state = TrainerState(**_read_state(last))
    before = asdict(state)
    if best := state.best_model_checkpoint:
        state.best_model_checkpoint = str(last.parent / Path(best).name)
        try:
            check_weights(Path(state.best_model_checkpoint), model)
            for check in checks:
                check(Path(state.best_model_checkpoint))
        except ValueError as error:
            log.warning("the weights of the best validation, %s, cannot be read: %s", best, error)
            state.best_model_checkpoint = state.best_metric = state.best_global_step = None
    if asdict(state) != before:
        write_json(last / TRAINER_STATE, asdict(state))
    return state


def has_ended(state: TrainerState) -> bool:
    """Whether a training ended with a checkpoint.

    Trainer itself would continue one that was stopped early: it forgets that as it begins.
    """
    best, control = state.best_model_checkpoint, state.stateful_callbacks.get("TrainerControl", {})
    ended = control.get("args", {}).get("should_training_stop", False)
    return bool(ended and best and Path(best).is_dir())


def check_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse a safetensors file that does not hold tensors of these names and shapes.

    Raises
    ------
    ValueError
    """
    if shapes_in(path) != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise ValueError(f"{path.name} holds other tensors than this training has")
