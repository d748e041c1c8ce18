"""A training that ended is not gone on with."""

import pytest
import torch
from conftest import tiny_bert
from fitting import trained

from latadj.training.fit import LatadjTrainer

# The second validation is the best, and two that are no better end a training of eight.
SCORES = [0.1, 0.3, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9]


@pytest.mark.parametrize("average", [0.0, 0.9], ids=["weights", "mean"])
@pytest.mark.parametrize("steps", [None, 5], ids=["by epoch", "by steps"])
def test_a_training_that_ended_early_stays_ended_after_a_kill(tmp_path, monkeypatch, average, steps):
    def scores():
        left = iter(SCORES)
        return lambda _: next(left)

    options = {"epochs": 8, "average": average, "eval_steps": steps, "patience": 2}
    first, again = tiny_bert(), tiny_bert()
    best = trained(first, tmp_path, scores(), **options)
    assert best["eval_score"] == 0.3
    monkeypatch.setattr(LatadjTrainer, "training_step", None)
    monkeypatch.setattr(LatadjTrainer, "evaluate", None)
    assert trained(again, tmp_path, scores(), **options, resume=True) == best
    for ours, theirs in zip(again.parameters(), first.parameters(), strict=True):
        assert torch.equal(ours, theirs)
