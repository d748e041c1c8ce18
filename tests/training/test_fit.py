"""A training that was killed ends as it would have, and one that ends too early says so."""

import pytest
import torch
from conftest import tiny_bert
from helpers.pruning_runs import KilledError
from helpers.short_training import trained

from latadj.devices import ranks
from latadj.training import fit
from latadj.training.fit import LatadjTrainer, last_gain

# The second validation is the best, and two that are no better end a training of eight.
SCORES = [0.1, 0.3, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9]


@pytest.mark.parametrize("ema_decay", [0.0, 0.9], ids=["weights", "mean"])
@pytest.mark.parametrize("steps", [None, 5], ids=["by epoch", "by steps"])
def test_a_training_that_ended_early_stays_ended_after_a_kill(tmp_path, monkeypatch, ema_decay, steps):
    def scores():
        left = iter(SCORES)
        return lambda _: next(left)

    options = {"epochs": 8, "ema_decay": ema_decay, "eval_steps": steps, "patience": 2}
    first, again = tiny_bert(), tiny_bert()
    best = trained(first, tmp_path, scores(), **options)
    assert best["eval_score"] == 0.3
    monkeypatch.setattr(LatadjTrainer, "training_step", None)
    monkeypatch.setattr(LatadjTrainer, "evaluate", None)
    assert trained(again, tmp_path, scores(), **options, resume=True) == best
    for ours, theirs in zip(again.parameters(), first.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def worth(model):
    return -float(model.classifier.weight.detach().norm())


@pytest.fixture(scope="module", params=[0.0, 0.9], ids=["weights", "mean"])
def whole(request, tmp_path_factory):
    """Options of a training, and its model and result where nothing disturbs it."""
    # 64 rows of 4 are epochs of 16 steps; every fourth step is validated and saved.
    options = {"epochs": 3, "ema_decay": request.param, "eval_steps": 4, "patience": 99}
    model = tiny_bert()
    return options, model, trained(model, tmp_path_factory.mktemp("whole"), worth, **options)


@pytest.mark.parametrize("killed_at", [12, 32, 37], ids=["epoch 1", "between", "epoch 3"])
def test_a_training_that_was_killed_ends_at_the_same_weights(tmp_path, whole, killed_at):
    options, model, result = whole

    def killing(model):
        killing.validated += 1
        if killing.validated * 4 > killed_at:
            raise KilledError
        return worth(model)

    killing.validated = 0
    with pytest.raises(KilledError):
        trained(tiny_bert(), tmp_path / "killed", killing, **options)
    (tmp_path / "killed").rename(tmp_path / "moved")
    again = tiny_bert()
    assert trained(again, tmp_path / "moved", worth, **options, resume=True) == pytest.approx(result)
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("scores", "said"),
    [([0.6, 0.7, 0.8], "33% of what was wrong"), ([0.6, 0.8, 0.81], ""), ([0.6, 0.8, 0.7], ""), ([0.8], "")],
    ids=["gaining", "settled", "past its best", "one validation"],
)
def test_a_training_that_ends_while_it_gains_says_so(tmp_path, caplog, scores, said):
    left = iter(scores)
    trained(tiny_bert(), tmp_path, lambda _: next(left), epochs=len(scores))
    assert said in caplog.text if said else "of what was wrong" not in caplog.text


def test_a_training_whose_loss_is_no_number_stops(tmp_path):
    with pytest.raises(ValueError, match=r"the training loss is (nan|inf) after \d+ steps: the learning rate 1e\+30"):
        trained(tiny_bert(), tmp_path, lambda _: 0.5, epochs=2, learning_rate=1e30, ema_decay=0.0)


def test_a_gain_counts_by_what_was_wrong():
    assert last_gain([0.5, 0.9, 0.8, 0.95], greater_is_better=True) == pytest.approx(0.5)
    assert last_gain([40.0, 20.0, 30.0, 15.0], greater_is_better=False) == pytest.approx(0.25)
    assert last_gain([1.0, 1.0], greater_is_better=True) == 0.0


def test_processes_meet_once_all_have_read_the_best_checkpoint(tmp_path, monkeypatch):
    done, best = [], fit._best
    monkeypatch.setattr(fit, "_best", lambda *given: done.append("read") or best(*given))
    monkeypatch.setattr(ranks, "gathered", lambda value: done.append("met") or [value])
    trained(tiny_bert(), tmp_path, lambda _: 0.5, epochs=1)
    assert done[-2:] == ["read", "met"]
