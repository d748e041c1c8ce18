"""Trainings report to the trackers that transformers' Trainer knows; what was reported is read back."""

import os
import shutil
from dataclasses import replace

import pytest
from helpers.short_training import trained
from helpers.tiny_models import tiny
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from latadj.commands.common import training_checks
from latadj.config.compose import compose, typed
from latadj.reporting.results.dial_sweep import Measured
from latadj.reporting.results.sweep import HEADLINE, Row
from latadj.training.trackers import MLFLOW, TENSORBOARD, Trackers


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


@pytest.mark.parametrize("command", ["finetune", "prune", "sweep"])
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
    with pytest.raises(ValueError, match=r"report_to=mlflow: .* pip install 'latadj\[tracking\]'"):
        training_checks.require_trackers(["mlflow"])


def scalars(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = {}
    for file in folder.rglob("events*"):
        events = accumulator.EventAccumulator(str(file))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault((file.parent.name, tag), []).extend((one.step, one.value) for one in events.Scalars(tag))
    return found


ROWS = [(150, {"speedup": 1.5, "accuracy": 0.75, "ms": 4.0}), (300, {"speedup": 3.0, "accuracy": 0.5})]


def test_tensorboard_holds_losses_scores_and_the_rows_of_a_sweep(tmp_path):
    pytest.importorskip("tensorboard")
    trackers = Trackers(("tensorboard",), tmp_path / "mine")
    trained(tiny("bert"), tmp_path / "work", lambda model: 0.5, epochs=2, trackers=trackers)
    Trackers(("tensorboard",), tmp_path / "mine").report("sweep", ROWS)
    found = scalars(tmp_path / "mine" / "tensorboard")
    assert [step for step, loss in found["training", "train/loss"] if loss > 0] == [16, 32]
    assert found["training", "eval/accuracy"] == [(16, 0.5), (32, 0.5)]
    assert found["sweep", "sweep/accuracy"] == [(150, 0.75), (300, 0.5)]
    assert found["sweep", "sweep/ms"] == [(150, 4.0)]


def test_rows_follow_to_the_folder_that_the_user_named_for_the_training(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    trackers = Trackers(("tensorboard",), tmp_path / "mine")
    monkeypatch.setenv(TENSORBOARD, str(tmp_path / "elsewhere"))
    with trackers.stage("training"):
        pass
    monkeypatch.delenv(TENSORBOARD)
    trackers.report("sweep", ROWS)
    assert scalars(tmp_path / "elsewhere")["elsewhere", "sweep/speedup"] == [(150, 1.5), (300, 3.0)]


@pytest.mark.parametrize("named", [False, True], ids=["ours", "named"])
def test_a_new_run_does_not_stand_beside_the_old_ones_curves(tmp_path, monkeypatch, named):
    monkeypatch.delenv(TENSORBOARD, raising=False)
    trackers, folder = Trackers(("tensorboard",), tmp_path), tmp_path / "tensorboard" / "theirs"
    if named:
        monkeypatch.setenv(TENSORBOARD, str(folder))
        with trackers.stage("training"):
            pass
        monkeypatch.delenv(TENSORBOARD)
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1").touch()
    trackers.forget()
    assert (folder / "events.out.tfevents.1").exists() == named


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A client of MLflow's local store in a folder, and the folder."""
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    for name in (MLFLOW, "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "mine"

    def client():
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        return MlflowClient((folder / "mlruns").as_uri())

    return folder, client


def test_mlflow_has_one_run_with_stages_in_it_that_a_sweep_continues(store, tmp_path):
    folder, client = store
    trackers = Trackers(("mlflow",), folder)
    trained(tiny("bert"), tmp_path / "work", lambda model: 0.5, epochs=2, trackers=trackers)
    Trackers(("mlflow",), folder).report("sweep", ROWS)
    assert MLFLOW not in os.environ
    runs = {run.info.run_name: run for run in client().search_runs(["0"])}
    assert set(runs) == {"mine", "training"}
    assert runs["training"].data.tags["mlflow.parentRunId"] == runs["mine"].info.run_id
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    losses = client().get_metric_history(runs["training"].info.run_id, "loss")
    assert [one.step for one in losses if one.value > 0] == [16, 32]
    assert runs["training"].data.metrics["eval_accuracy"] == 0.5
    rows = client().get_metric_history(runs["mine"].info.run_id, "sweep/accuracy")
    assert [(one.step, one.value) for one in rows] == [(150, 0.75), (300, 0.5)]


def test_mlflow_begins_a_new_run_for_a_new_training_and_where_the_old_one_is_gone(store):
    folder, client = store
    trackers = Trackers(("mlflow",), folder)
    trackers.report("sweep", ROWS)
    (first,) = client().search_runs(["0"])
    trackers.forget()
    trackers.report("sweep", ROWS)
    assert len(client().search_runs(["0"])) == 2
    (second,) = {run.info.run_id for run in client().search_runs(["0"])} - {first.info.run_id}
    shutil.rmtree(folder / "mlruns" / "0" / second)
    trackers.report("sweep", ROWS)
    assert len(client().search_runs(["0"])) == 2


def test_a_store_that_the_user_named_is_found_again(store, tmp_path, monkeypatch):
    folder, _ = store
    monkeypatch.setenv(MLFLOW, (tmp_path / "named").as_uri())
    trackers = Trackers(("mlflow",), folder)
    trackers.report("sweep", ROWS[:1])
    monkeypatch.delenv(MLFLOW)
    trackers.report("sweep", ROWS[1:])
    assert not (folder / "mlruns").exists()
    (run,) = [path for path in (tmp_path / "named" / "0").iterdir() if path.is_dir()]
    assert len((run / "metrics" / "sweep" / "accuracy").read_text().splitlines()) == 2


def test_a_damaged_list_of_tracked_runs_is_refused_in_one_line(tmp_path):
    (tmp_path / "trackers.json").write_text('{"mlflow": 3}')
    with pytest.raises(ValueError, match=r"trackers.json: this list of tracked runs is damaged .*; remove it"):
        Trackers(("mlflow",), tmp_path).report("sweep", ROWS)


def test_rows_have_what_was_measured_and_nothing_else():
    shared = {"keep": [1.0], "profile": [1.0], "profile_type": "flat", "flops_speedup": 2.0}
    untimed = Row(
        speedup=2.0, metric=0.5, metric_ci=(0.4, 0.6), scores={}, drop=0.0, drop_ci=(0, 0), agreement=1.0, **shared
    )
    assert untimed.tracked("accuracy") == {"speedup": 2.0, "accuracy": 0.5}
    timed = replace(untimed, predicted=1.9, latency_ms={"p50": 3.0}, measured={HEADLINE: Measured(1.8, (1.7, 1.9))})
    assert timed.tracked("accuracy") == {
        **{"speedup": 2.0, "accuracy": 0.5, "predicted_speedup": 1.9},
        **{"measured_speedup": 1.8, "ms": 3.0},
    }
