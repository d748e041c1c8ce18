"""Trainings report to the trackers that transformers' Trainer knows; a stand-in takes TensorBoard's place."""

import os

import pytest
from helpers.short_training import trained
from helpers.tiny_models import tiny
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from latadj.commands.common import training_checks
from latadj.config.compose import compose, typed
from latadj.training.trackers import TENSORBOARD, Trackers


class StandIn(TrainerCallback):
    """Keeps what it is told."""

    def __init__(self):
        self.folder = os.environ.get(TENSORBOARD)
        StandIn.made.append(self)
        self.logs = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.run_name = args.run_name

    def on_log(self, args, state, control, logs, **kwargs):
        self.logs.append(logs)


@pytest.fixture
def stand_in(monkeypatch):
    StandIn.made = []
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", StandIn)


@pytest.mark.parametrize("named", [None, "elsewhere"])
def test_losses_and_scores_are_reported(stand_in, tmp_path, monkeypatch, named):
    if named:
        monkeypatch.setenv(TENSORBOARD, named)
    trackers = Trackers(("tensorboard",), tmp_path / "mine")
    trained(tiny("bert"), tmp_path / "work", lambda model: 0.5, epochs=1, trackers=trackers)
    (made,) = StandIn.made
    assert made.folder == (named or str(tmp_path / "mine" / "tensorboard" / "training"))
    assert made.run_name == "mine"
    told = {name for logs in made.logs for name in logs}
    assert {"loss", "learning_rate", "eval_accuracy"} <= told
    assert os.environ.get(TENSORBOARD) == named


def test_nothing_is_reported_unless_asked_for(stand_in, tmp_path):
    trained(tiny("bert"), tmp_path / "work", lambda model: 0.5, epochs=1)
    assert StandIn.made == []


@pytest.mark.parametrize("command", ["finetune", "prune"])
@pytest.mark.parametrize(
    ("option", "names"),
    [("none", []), ("null", []), ("wandb", ["wandb"]), ("[tensorboard,mlflow]", ["tensorboard", "mlflow"])],
)
def test_trackers_are_named_alone_or_in_a_list(command, option, names):
    assert typed(command, compose(command, [f"report_to={option}"])).report_to == names


def test_another_tracker_is_refused_by_name():
    with pytest.raises(ValueError, match=r"report_to=.*comet.*: expected some of tensorboard, wandb, mlflow, or none"):
        typed("finetune", compose("finetune", ["report_to=comet"]))


def test_a_tracker_that_is_not_installed_is_refused_with_its_package(monkeypatch):
    monkeypatch.setattr(training_checks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="report_to=wandb: the package wandb is not installed: pip install wandb"):
        training_checks.require_trackers(["wandb"])
