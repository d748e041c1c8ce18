"""Where trainings report their losses and scores besides the log: the trackers that transformers' Trainer knows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# The variable by which transformers' callback for TensorBoard is told its folder.
TENSORBOARD = "TENSORBOARD_LOGGING_DIR"


@dataclass(frozen=True)
class Trackers:
    """The trackers of a run.

    names : as in ``TrainingArguments.report_to``; none: only the log
    folder : of the run, by which trackers call it; TensorBoard's files are in ``tensorboard`` there
    """

    names: tuple[str, ...] = ()
    folder: Path = Path()

    @property
    def run_name(self) -> str | None:
        """What a tracker calls the run; None: nothing is reported."""
        return self.folder.name if self.names else None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Give TensorBoard a folder for a stage of the run, inside a ``with`` block, unless the user named one."""
        if "tensorboard" not in self.names or TENSORBOARD in os.environ:
            yield
            return
        os.environ[TENSORBOARD] = str(self.folder / "tensorboard" / name.replace(" ", "-"))
        try:
            yield
        finally:
            del os.environ[TENSORBOARD]
