"""The checkpoints of a training: where one is saved, and from which one a training is resumed."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from latadj.utils.files import read_json, write_json

log = logging.getLogger("latadj")
# The file that Trainer writes last in a checkpoint.
TRAINER_STATE = "trainer_state.json"


def checkpoint_dir(args: Any, state: TrainerState) -> Path:
    """The folder of the checkpoint that Trainer has just saved, from the arguments of a callback's ``on_save``."""
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def last_complete_checkpoint(folder: Path, required: Sequence[str] = ()) -> Path | None:
    """The last checkpoint with Trainer's state, which it writes last, and the ``required`` files of callbacks."""
    checkpoints = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    while checkpoints:
        last = checkpoints.pop()
        try:
            read_json(last / TRAINER_STATE, "Trainer state", "it is left out")
            if missing := [name for name in required if not (last / name).is_file()]:
                raise ValueError(f"{last}: no {missing[0]}")
            return last
        except ValueError:
            log.warning("left out %s, which was cut short", last)
            shutil.rmtree(last)
    return None


def load_trainer_state(last: Path) -> TrainerState:
    """The state to resume a training with, from a checkpoint that may have been moved since."""
    state = TrainerState.load_from_json(str(last / TRAINER_STATE))
    if (best := state.best_model_checkpoint) and Path(best).parent != last.parent:
        state.best_model_checkpoint = str(last.parent / Path(best).name)
        write_json(last / TRAINER_STATE, asdict(state))
    return state


def has_ended(state: TrainerState) -> bool:
    """Whether a training ended with a checkpoint.

    Trainer itself would continue one that was stopped early: it forgets that as it begins.
    """
    best, control = state.best_model_checkpoint, state.stateful_callbacks.get("TrainerControl", {})
    ended = control.get("args", {}).get("should_training_stop", False)
    return bool(ended and best and Path(best).is_dir())
