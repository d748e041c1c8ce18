"""The checkpoints of a training: what is saved in one beside Trainer's own, and where a training goes on."""

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
# Name of the file that Trainer writes last in a checkpoint.
STATE = "trainer_state.json"


def saved_now(args: Any, state: TrainerState) -> Path:
    """The checkpoint that Trainer has just saved, as a callback's ``on_save`` is told."""
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def last_whole(folder: Path, beside: Sequence[str] = ()) -> Path | None:
    """The last checkpoint whose state was written, Trainer's last act, and after it the files ``beside``."""
    found = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    while found:
        last = found.pop()
        try:
            read_json(last / STATE, "Trainer state", "it is left out")
            if missing := [name for name in beside if not (last / name).is_file()]:
                raise ValueError(f"{last}: no {missing[0]}")
            return last
        except ValueError:
            log.warning("left out %s, which was cut short", last)
            shutil.rmtree(last)
    return None


def state_of(last: Path) -> TrainerState:
    """The state of a training that goes on from a checkpoint, which may have been moved meanwhile."""
    state = TrainerState.load_from_json(str(last / STATE))
    if (best := state.best_model_checkpoint) and Path(best).parent != last.parent:
        state.best_model_checkpoint = str(last.parent / Path(best).name)
        write_json(last / STATE, asdict(state))
    return state


def has_ended(state: TrainerState) -> bool:
    """Whether a training ended with a checkpoint.

    Trainer itself would go on with one that ended early for lack of gains: it forgets that as it begins.
    """
    best, control = state.best_model_checkpoint, state.stateful_callbacks.get("TrainerControl", {})
    ended = control.get("args", {}).get("should_training_stop", False)
    return bool(ended and best and Path(best).is_dir())
