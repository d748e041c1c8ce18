"""What tests of `latadj prune` have in common: a fine-tuned toy model, a quick search, a kill."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy
from calling import run

from latadj.commands.prune_state import PruneState

SPLIT = "task.split={train:0.6,validation:0.4}"
QUICK = ["prune.groups=2", "prune.examples=64", "prune.gradient_examples=64", "recover.learning_rate=1e-3"]


class KilledError(Exception):
    pass


def write_plain(root: Path) -> Path:
    """The toy project inside ``root``, with a plain fine-tuned model of two layers in ``out/plain``."""
    toy.write_model(root / "model", layers=2)
    toy.write_task(root / "data")
    learning = ["plain.epochs=16", "plain.patience=16", "model.learning_rate=2e-3", "plain.warmup=0"]
    run("finetune", *toy.overrides(root), "adjustable=false", *learning, SPLIT)
    return root


@contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, when: Callable[[PruneState], bool]) -> Iterator[None]:
    """A run inside the block, killed as soon as it has written a state of which ``when`` is true."""
    whole = PruneState.write

    def write(state, work, model=None):
        whole(state, work, model)
        if when(state):
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(PruneState, "write", write)
        yield
