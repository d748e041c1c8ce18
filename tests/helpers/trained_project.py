"""The toy project after `latadj finetune`, in both stages."""

from pathlib import Path

from helpers import toy_project as toy
from helpers.command_line import run

LEARN = ["plain.epochs=16", "plain.patience=16", "plain.warmup=0", "model.learning_rate=2e-3"]
LEARN += ["adjust.epochs=4", "adjust.word_dropout_copies=1"]


def write_trained(root: Path) -> None:
    """The toy project inside ``root``, with a plain and an adjustable model in ``out``."""
    toy.write_model(root / "model")
    toy.write_task(root / "data")
    run("finetune", *toy.overrides(root), *LEARN)
