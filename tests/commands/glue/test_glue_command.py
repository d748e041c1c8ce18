"""latadj glue: two toy tasks in GLUE's layout, through the real command line; interrupted, and gone on with."""

import csv
import json
import logging
import shutil
import zipfile

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from typer.testing import CliRunner

import latadj
from latadj.cli import app
from latadj.commands import calibrate
from latadj.commands.glue import glue as command
from latadj.reporting.results.glue import Glue

STAGES = ["finetune", "calibrate", "sweep"]
FAST = ["plain.epochs=1", "adjust.epochs=1", "search.trials=0", "calibration.examples=16", "clock.rounds=0"]
FAST += ["measure.batches=1", "measure.repeats=2", "measure.warmup=1", "device.threads=1", "device.name=cpu"]


def options(root, *more):
    return [f"model.path={root}/model", f"data_dir={root}/data", f"folder={root}/out", *FAST, *more]


def run(*arguments):
    return CliRunner().invoke(app, ["glue", *arguments], catch_exceptions=False)


def refused(*arguments):
    found = run(*arguments)
    assert found.exit_code == 2, found.output
    assert found.stderr.count("\n") == 1, found.stderr
    return found.stderr


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture(scope="module")
def ran(patch):
    """The commands that were run, as (task, command)."""
    found = []
    before = command.run_stage

    def spied(command, overrides):
        found.append((overrides[0].removeprefix("task="), command))
        return before(command, overrides)

    patch.setattr(command, "run_stage", spied)
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory, patch, ran):
    """A run that was interrupted in the second task's calibration, and gone on with."""
    root = tmp_path_factory.mktemp("glue")
    toy.write_model(root / "model")
    toy.write_glue(root / "data")
    given = options(root, "tasks=[stsb,sst2]", "speedup=[1,2]", "submission=2")
    before = calibrate.run

    def interrupted(session):
        if session.config.task.name == "sst2":
            raise KeyboardInterrupt
        return before(session)

    patch.setattr(calibrate, "run", interrupted)
    first = run(*given)
    assert first.exit_code == 130, first.output
    assert ran == [*(("stsb", stage) for stage in STAGES), ("sst2", "finetune"), ("sst2", "calibrate")]
    partial = json.loads((root / "out" / "glue.json").read_text())
    assert [task["task"] for task in partial["tasks"]] == ["stsb"]
    ran.clear()
    patch.setattr(calibrate, "run", before)
    second = run(*given)
    assert second.exit_code == 0, second.output
    assert ran == [("sst2", "calibrate"), ("sst2", "sweep")]
    ran.clear()
    return root


@pytest.fixture(scope="module")
def glue(root):
    return json.loads((root / "out" / "glue.json").read_text())


def test_every_command_has_its_own_run_folder(root):
    out = root / "out"
    for task in ("sst2", "stsb"):
        for stage in STAGES:
            assert (out / task / stage / ".hydra" / "config.yaml").is_file()
            assert (out / task / stage / f"{stage}.log").is_file()
            assert (out / task / stage / f"{stage}.json").is_file()
    assert {path.name for path in out.glob("glue.*")} == {"glue.json", "glue.md", "glue.csv", "glue.tex"}


def test_its_own_log_goes_on_after_the_commands(root):
    text = (root / "out" / "glue" / "glue.log").read_text()
    assert "task 2 of 2: sst2" in text
    assert "wrote glue.json, glue.csv, glue.md and glue.tex" in text
    assert "layer ACC" not in text
    assert logging.getLogger("latadj").handlers == []


def test_the_result_holds_what_the_sweeps_found(root, glue):
    assert (glue["schema"], glue["model"], glue["speedups"]) == ("latadj.glue/2", "minilm", [1.0, 2.0])
    assert [task["task"] for task in glue["tasks"]] == ["sst2", "stsb"]
    for task in glue["tasks"]:
        sweep = json.loads((root / "out" / task["task"] / "sweep" / "sweep.json").read_text())
        assert task["rows"] == sweep["rows"]
        assert task["plain_scores"]["dev"][task["metric"]] == sweep["plain_metric"]
        assert (task["examples"]["dev"], task["metric"]) == (60, sweep["metric"])
        assert set(task["seconds"]) == set(STAGES)
        assert all(seconds > 0 for seconds in task["seconds"].values())
    sst2, stsb = ({row["speedup"]: row["scores"]["dev"] for row in task["rows"]} for task in glue["tasks"])
    by_hand = (sst2[2.0]["accuracy"] + (stsb[2.0]["pearson"] + stsb[2.0]["spearman"]) / 2) / 2
    assert glue["averages"]["2"] == pytest.approx(by_hand)
    assert glue["config"]["plain"] == {"epochs": 1}
    assert glue["environment"]["threads"] == 1


def test_options_reach_the_commands(root):
    config = json.loads((root / "out" / "stsb" / "finetune" / "finetune.json").read_text())["config"]
    assert (config["plain"]["epochs"], config["adjust"]["epochs"], config["device"]["threads"]) == (1, 1, 1)
    assert (config["task"]["name"], config["task"]["data_dir"]) == ("stsb", f"{root}/data/STS-B")
    assert config["model"]["path"] == f"{root}/model"


def test_tables_are_made_of_the_json(root, glue):
    again = Glue.from_json(glue)
    out = root / "out"
    assert (out / "glue.md").read_text() == again.document().markdown()
    assert (out / "glue.tex").read_text() == again.document().latex()
    assert (out / "glue.csv").read_text() == again.csv_table().csv()
    with (out / "glue.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["speedup"] for row in rows] == ["plain", "1.0", "2.0"]
    assert float(rows[2]["SST-2 accuracy"]) == glue["tasks"][0]["rows"][1]["metric"]
    assert "STS-B" in run(*options(root, "tasks=[stsb,sst2]", "speedup=[1,2]")).stdout


def test_what_was_finished_is_not_done_again(root, ran):
    ran.clear()
    assert run(*options(root, "tasks=[sst2,stsb]", "speedup=[1,2]")).exit_code == 0
    assert ran == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["speedup=1.5"], [("sweep", False)]),
        (["max_test=50"], [("sweep", False)]),
        (["clock.rounds=2"], [("calibrate", False)]),
        (["seed=1"], [("finetune", False)]),
        (["resume=false"], [("finetune", False)]),
        # What seed 1 would have trained was never begun, so the folder still holds what seed 0 did.
        (["seed=1", "seed=0"], [("finetune", False), ("finetune", True)]),
        (["speedup=1.5", "speedup=[1,2]"], [("sweep", False), ("sweep", False)]),
    ],
)
def test_a_change_does_again_what_depends_on_it_only(root, tmp_path, monkeypatch, changes, expected):
    shutil.copytree(root / "out", tmp_path / "out")
    started = []

    def interrupted(command, overrides):
        started.append((command, "resume=true" in overrides))
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_stage", interrupted)
    given = options(root, "tasks=[sst2]", f"folder={tmp_path}/out", "speedup=[1,2]")
    for change in changes:
        assert run(*given, change).exit_code == 130
    assert started == expected
    done = json.loads((tmp_path / "out" / "sst2" / "state.json").read_text())["settings"]
    assert list(done) == STAGES[: STAGES.index(started[-1][0])]


def test_a_submission_has_the_models_own_answers(root):
    with zipfile.ZipFile(root / "out" / "submission-2x.zip") as packed:
        assert packed.namelist() == ["SST-2.tsv", "STS-B.tsv"]
        texts = {name: packed.read(name).decode().splitlines() for name in packed.namelist()}
    tests = (root / "data" / "SST-2" / "test.tsv").read_text().splitlines()[1:]
    model, tokenizer = latadj.load(root / "out" / "sst2" / "checkpoint", speedup=2)
    with torch.inference_mode():
        batches = [tokenizer(line.split("\t")[1], return_tensors="pt") for line in tests]
        answers = [int(model(**batch).logits.argmax()) for batch in batches]
    assert texts["SST-2.tsv"] == ["index\tprediction", *(f"{index}\t{value}" for index, value in enumerate(answers))]
    assert len(texts["STS-B.tsv"]) == 6
    values = [float(line.split("\t")[1]) for line in texts["STS-B.tsv"][1:]]
    assert np.all((np.array(values) >= 0) & (np.array(values) <= 5))


def test_a_submission_says_what_it_lacks(root, tmp_path, caplog):
    data = shutil.copytree(root / "data", tmp_path / "data")
    (data / "STS-B" / "test.tsv").unlink()
    shutil.copytree(root / "out", tmp_path / "out")
    # The data are elsewhere, so that the sweeps would be made again: the settings are told that they are the same.
    for state in (tmp_path / "out").glob("*/state.json"):
        state.write_text(state.read_text().replace(f"{root}/data", f"{data}"))
    given = options(root, "tasks=[sst2,stsb]", "speedup=[1,2]", f"data_dir={data}", f"folder={tmp_path}/out")
    found = run(*given, "--submission")
    assert found.exit_code == 0, found.output
    for name in ("submission-1x.zip", "submission-2x.zip"):
        with zipfile.ZipFile(tmp_path / "out" / name) as packed:
            assert packed.namelist() == ["SST-2.tsv"]
    text = (tmp_path / "out" / "glue" / "glue.log").read_text()
    assert "submission-2x.zip with SST-2.tsv; GLUE's server wants CoLA.tsv, MRPC.tsv, STS-B.tsv, QQP.tsv" in text
    assert "submission: no test examples for CoLA.tsv, MRPC.tsv, STS-B.tsv, QQP.tsv" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tasks=[]"], "tasks=[]: expected a list of some of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli"),
        (["tasks=[sst2,imdb]"], "tasks=[sst2,imdb]: expected a list of some of cola"),
        (["tasks=[sst2,sst2]"], "each once"),
        (["task=sst2"], "task=sst2: glue takes a list, such as tasks=[sst2,cola]"),
        (["tasks=[sst2,rte,cola]"], "no folder RTE, CoLA; leave them out with tasks=[sst2]"),
        (["tasks=[sst2]", "plain.epoch=3"], "did you mean plain.epochs=?"),
        (["tasks=[sst2]", "measure.repeats=0"], "measure.repeats=0: expected at least 1"),
        (["tasks=[sst2]", "speedup=[1,7]"], "the dials will end at calibration.max_speedup=5"),
        (["tasks=[sst2]", "submission=often"], "submission=often: expected true, false, a speedup or a list of them"),
        (["tasks=[sst2]", "max_train=0"], "max_train=0: expected at least 1"),
        (["tasks=[sst2]", "model.path=nowhere/at/all"], "model.path=nowhere/at/all: no such folder"),
    ],
)
def test_bad_input_is_refused_at_once(root, tmp_path, given, message):
    assert message in refused(*options(root, f"folder={tmp_path}/new"), *given)
    assert not (tmp_path / "new").exists()


def test_all_tasks_whose_data_are_bad_are_named_before_anything_runs(root, tmp_path, ran):
    data = shutil.copytree(root / "data", tmp_path / "data")
    (data / "SST-2" / "dev.tsv").unlink()
    (data / "STS-B" / "train.tsv").write_text("sentence1\tscore\ngood\t1\n")
    ran.clear()
    message = refused(*options(root, f"folder={tmp_path}/new", f"data_dir={data}", "tasks=[stsb,sst2]"))
    assert "2 of 2 tasks cannot be run" in message
    assert "stsb: " in message
    assert "column 'sentence2' is missing" in message
    assert "dev.tsv: no such file; task sst2 needs it" in message
    assert ran == []
    assert not (tmp_path / "new").exists()


def test_a_folder_that_would_be_lost_is_refused_before_anything_runs(root, tmp_path, ran):
    precious = tmp_path / "new" / "stsb" / "plain" / "precious.py"
    precious.parent.mkdir(parents=True)
    precious.write_text("work")
    ran.clear()
    message = refused(*options(root, f"folder={tmp_path}/new", "tasks=[sst2,stsb]", "speedup=[1,2]"))
    assert "1 of 2 tasks cannot be run: stsb: folder=" in message
    assert "this folder holds precious.py, which is no part of a saved model and would be lost" in message
    assert (ran, precious.read_text()) == ([], "work")


def test_without_a_hub_it_says_which_folders_are_wanted(root, monkeypatch, tmp_path):
    monkeypatch.setattr("latadj.utils.hub.reachable", lambda: False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    message = refused(f"model.path={root}/model", "tasks=[mrpc,qqp]", f"folder={tmp_path}/new")
    assert "name the folder that holds GLUE's folders (MRPC, QQP) with data_dir=FOLDER" in message
