"""A language model as it is, asked about a task by a prompt: calibrate -> sweep -> eval, by the command line."""

import csv
import json

import numpy as np
import pytest
from helpers import toy_project as toy
from helpers import word_tokenizer as words
from typer.testing import CliRunner

from latadj.cli import app

COMMANDS = [
    ["calibrate", "search.trials=3", "search.speedups=[2]", "calibration.examples=8", "clock.rounds=0"],
    ["sweep", "speedup=[1,2]", "measure.batches=1", "measure.repeats=2", "measure.warmup=1"],
    ["eval", "speedup=2", "measure.examples=4", "measure.warmup=1"],
]


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def write(folder, profile_type):
    model = words.LANGUAGE_MODELS[profile_type]()
    model.save_pretrained(folder / "lm")
    words.tokenizer(ends=profile_type == "t5").save_pretrained(folder / "lm")
    toy.write_task(folder / "data", examples=80)
    own = ["prompt=few_shot", "prompt.shots=2", "prompt.calibrate=4", "task.max_length=16", "task.max_test=12"]
    return [*toy.overrides(folder), f"checkpoint={folder / 'lm'}", *own]


@pytest.fixture(scope="module", params=["llama", "t5"])
def out(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    common = write(folder, request.param)
    for command, *options in COMMANDS:
        found = run(command, *common, *options)
        assert found.exit_code == 0, found.output
    return folder / "out"


def read(out, command):
    return json.loads((out / command / f"{command}.json").read_text())


def test_the_sweep_is_that_of_a_classifier(out):
    found = read(out, "sweep")
    assert (found["metric"], found["test_examples"]) == ("accuracy", 12)
    assert found["config"]["prompt"]["name"] == "few_shot"
    assert found["rows"][0]["agreement"] == 1.0
    for row in found["rows"]:
        assert 0 <= row["metric"] <= 1
        assert row["measured"]["bucketed"]["speedup"] > 0
        decoder = "llama" in found["config"]["checkpoint"]
        assert set(row["controls"]) == ({"recent", "random"} if decoder and row["speedup"] > 1 else set())
    assert found["rows"][1]["flops_speedup"] == pytest.approx(2, rel=0.1)


def test_eval_answers_with_labels_and_their_confidence(out):
    found = read(out, "eval")
    with (out / "eval" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["prediction"] for row in rows} <= {"negative", "positive"}
    assert all(0.5 <= float(row["confidence"]) <= 1 for row in rows)
    right = np.mean([row["prediction"] == row["label"] for row in rows])
    assert right == pytest.approx(found["scores"]["dev"]["accuracy"])
    assert right == read(out, "sweep")["rows"][1]["metric"]


def test_eval_says_which_regions_survive(out):
    found = read(out, "eval")["regions"]
    assert list(found["tokens"]) == ["shots", "query", "all"]
    assert found["tokens"]["all"] == pytest.approx(found["tokens"]["shots"] + found["tokens"]["query"])
    assert all(0 < share[0] <= 1 for share in found["shares"].values())
    assert found["shares"]["all"][-1] < 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompt.query='{txt}:'", "prompt.query: unknown field {txt}; there are {sentence}, {input}"),
        ("prompt.shots=50", "of 200 that the model has; "),
        ("task=stsb", "prompt=few_shot: task=stsb has no labels to answer with"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_one_line(tmp_path, override, message):
    common = write(tmp_path, "llama")
    found = run("calibrate", *common, override)
    assert found.exit_code == 2
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_encoder_is_not_asked(tmp_path):
    common = write(tmp_path, "llama")
    toy.write_model(tmp_path / "model")
    found = run("calibrate", *common, f"checkpoint={tmp_path / 'model'}")
    assert found.exit_code == 2
    assert "is an encoder and cannot generate" in found.stderr
