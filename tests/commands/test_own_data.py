"""Data that people bring, through the real command line: finetune -> calibrate -> sweep -> eval."""

import csv
import json
import random

import pandas as pd
import pytest
from helpers import toy_project as toy
from helpers import word_tokenizer as words
from helpers.command_line import run
from transformers import AutoConfig, BertConfig, BertForSequenceClassification

import latadj
from latadj.checkpoints.metadata import read_metadata

QUICK = ["plain.max_steps=2", "adjust.max_steps=2"]
CALIBRATE = ["calibrate", "search.trials=0", "calibration.examples=8", "clock.rounds=0"]
EVAL = ["eval", "speedup=2", "measure.examples=2", "measure.warmup=1"]
COMMANDS = [["finetune", *QUICK], CALIBRATE, ["sweep", "speedup=[1,2]", "measure.batches=0"], EVAL]
WORDS = {"good": toy.GOOD, "bad": toy.BAD, "about people": ["people", "music"]}


def table(labels, count=90):
    """Reviews that a word tells apart, with a label or number for each kind of them."""
    rng = random.Random(0)
    rows = []
    for number in range(count):
        name = list(WORDS)[number % 3]
        text = rng.choices(toy.FILLER[:-3], k=rng.randint(3, 12))
        text.insert(rng.randrange(len(text)), rng.choice(WORDS[name]))
        rows.append({"title": f"film {number}", "review": " ".join(text), "stars": labels[number % 3]})
    return pd.DataFrame(rows)


def refused(*arguments):
    found = run(*arguments, expect=2)
    assert found.stderr.count("\n") == 1, found.stderr
    return found.stderr


def options(folder, files, *more, task="text_classification"):
    own = [f"task={task}", f"task.data_files={files}", "task.text=review", "task.label=stars"]
    common = [f"model.path={folder / 'model'}", f"folder={folder / 'out'}", "device.threads=1", "device.name=cpu"]
    return [*own, *common, *more]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy.write_model(tmp_path_factory.mktemp("own") / "model", layers=2).parent


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """A run through all commands: two text columns, names as labels, all splits out of one file."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "model").symlink_to(model / "model")
    table(["fine", "class 2", "class 10"]).to_csv(folder / "r.csv", index=False)
    for command, *more in COMMANDS:
        run(command, *options(folder, folder / "r.csv", "task.text=[title,review]"), *more)
    return folder


def test_label_names_are_kept_with_the_model(whole):
    names = ["class 2", "class 10", "fine"]
    for kept in (whole / "out" / "plain", whole / "out" / "checkpoint"):
        config = AutoConfig.from_pretrained(kept)
        assert config.id2label == dict(enumerate(names))
        assert config.label2id == {name: number for number, name in enumerate(names)}
        assert read_metadata(kept).task_spec.labels == names
        assert read_metadata(kept).task_spec.text == ["title", "review"]


def test_every_result_holds_the_labels(whole):
    for command in ("finetune", "calibrate", "sweep", "eval"):
        found = json.loads((whole / "out" / command / f"{command}.json").read_text())
        assert found["config"]["task"]["labels"] == ["class 2", "class 10", "fine"]
        assert found["task"] == "text_classification"
    with (whole / "out" / "eval" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"title", "review", "label", "prediction", "confidence"} <= set(rows[0])
    assert {row["label"] for row in rows} == {"class 2", "class 10", "fine"}
    assert {row["prediction"] for row in rows} <= {"class 2", "class 10", "fine"}


def test_a_run_with_labels_out_of_data_goes_on(whole):
    found = run("finetune", *options(whole, whole / "r.csv", "task.text=[title,review]"), *QUICK, "resume=true")
    assert "epoch" not in found.output


def test_new_tests_alone_are_evaluated_with_the_checkpoints_labels(whole, tmp_path):
    for name, labels in (("near", ["fine", "class 2", "fine"]), ("far", ["class 10"] * 3)):
        table(labels, 9).to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    files = f"{{test:[{tmp_path}/near.jsonl,{tmp_path}/far.jsonl]}}"
    checkpoint = f"checkpoint={whole}/out/checkpoint"
    common = [*options(whole, files, "task.text=[title,review]"), f"folder={tmp_path}/new", checkpoint]
    run(*EVAL, *common)
    found = json.loads((tmp_path / "new" / "eval" / "eval.json").read_text())
    assert list(found["scores"]) == ["near", "far"]
    assert found["config"]["task"]["labels"] == ["class 2", "class 10", "fine"]
    with (tmp_path / "new" / "eval" / "predictions-far.csv").open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"class 10"}
    assert "it has no training examples" in refused("calibrate", *common)


@pytest.mark.parametrize("command", ["sweep", "eval", "calibrate"])
def test_a_label_that_training_never_had_is_refused(whole, tmp_path, command):
    table(["fine", "strange", "new"]).to_csv(tmp_path / "r.csv", index=False)
    more = ["task.text=[title,review]", f"checkpoint={whole}/out/checkpoint", f"folder={tmp_path}/new"]
    speedup = [] if command == "calibrate" else ["speedup=2"]
    message = refused(command, *options(whole, tmp_path / "r.csv"), *more, *speedup)
    assert "have the labels 'new', 'strange', which training never had (it had the labels 'class 2'" in message
    assert not (tmp_path / "new").exists()


def test_labels_in_another_order_than_the_checkpoints_are_refused(whole):
    more = ["task.text=[title,review]", "task.labels=[fine,class 2,class 10]", "speedup=2"]
    message = refused("sweep", *options(whole, whole / "r.csv"), *more)
    assert "stand for ['class 2', 'class 10', 'fine']" in message


@pytest.mark.parametrize("name", ["r.tsv", "r.json", "r.parquet"])
def test_a_model_is_trained_on_other_formats(model, tmp_path, name):
    data, path = table([10, 2, 1], 60), tmp_path / name
    if ".json" in name:
        data.to_json(path, orient="records", lines=name.endswith("l"))
    elif name.endswith("parquet"):
        data.to_parquet(path)
    else:
        data.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    more = [f"folder={tmp_path}/out", "adjustable=false", "plain.epochs=1", "plain.max_steps=1"]
    run("finetune", *options(model, path), *more)
    loaded, _ = latadj.load(tmp_path / "out" / "checkpoint")
    assert loaded.config.id2label == {0: "1", 1: "2", 2: "10"}


def test_a_regression_goes_through_all_commands(model, tmp_path):
    (tmp_path / "model").symlink_to(model / "model")
    data = table([0.1, 2.5, 4.9])
    data["stars"] += [number / 1000 for number in range(len(data))]
    data.to_csv(tmp_path / "r.csv", index=False)
    message = refused("finetune", *options(tmp_path, tmp_path / "r.csv"))
    assert "different numbers with decimals are hardly classes" in message
    assert "to predict a number take task=text_regression" in message
    for command, *more in (["finetune", *QUICK, "adjustable=false"], CALIBRATE, EVAL):
        run(command, *options(tmp_path, tmp_path / "r.csv", task="text_regression"), *more)
    config = AutoConfig.from_pretrained(tmp_path / "out" / "checkpoint")
    assert (config.num_labels, config.problem_type) == (1, "regression")
    found = json.loads((tmp_path / "out" / "eval" / "eval.json").read_text())
    assert set(found["scores"]["test"]) == {"pearson", "spearman"}
    assert read_metadata(tmp_path / "out" / "checkpoint").task_spec.labels == []


@pytest.mark.parametrize(
    ("names", "labels"),
    [({0: "good", 1: "bad", 2: "odd"}, ["good", "bad", "odd"]), (None, ["bad", "good", "odd"])],
)
def test_a_foreign_model_keeps_the_order_of_its_labels(model, tmp_path, caplog, names, labels):
    shape = BertConfig.from_pretrained(model / "model", num_labels=3, **({"id2label": names} if names else {}))
    BertForSequenceClassification(shape).save_pretrained(tmp_path / "foreign")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "foreign" / file).write_bytes((model / "model" / file).read_bytes())
    table(["good", "odd", "bad"]).to_csv(tmp_path / "r.csv", index=False)
    more = [f"checkpoint={tmp_path}/foreign", f"folder={tmp_path}/out"]
    with caplog.at_level("WARNING", logger="latadj"):
        run(*CALIBRATE, *options(model, tmp_path / "r.csv"), *more)
    assert read_metadata(tmp_path / "foreign").task_spec.labels == labels
    assert ("its outputs are taken for bad, good, odd in this order" in caplog.text) == (names is None)


def test_a_prompt_asks_for_labels_out_of_the_data(tmp_path):
    words.LANGUAGE_MODELS["llama"]().save_pretrained(tmp_path / "lm")
    words.tokenizer().save_pretrained(tmp_path / "lm")
    table(["good", "bad", "people"], 90).to_csv(tmp_path / "r.csv", index=False)
    own = ["prompt=few_shot", "prompt.shots=2", "prompt.calibrate=2", "task.max_length=16", "task.max_test=6"]
    common = options(tmp_path, tmp_path / "r.csv", f"checkpoint={tmp_path}/lm", *own)
    run(*CALIBRATE, *common)
    run(*EVAL, *common)
    with (tmp_path / "out" / "eval" / "predictions.csv").open() as file:
        assert {row["prediction"] for row in csv.DictReader(file)} <= {"bad", "good", "people"}
    assert json.loads((tmp_path / "out/eval/eval.json").read_text())["config"]["task"]["labels"] == [
        "bad",
        "good",
        "people",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["task.label=review"], "task.label=review: it is a text column (task.text) too"),
        (["task.label=mark"], "column 'mark' is missing; there are title, review, stars"),
        (
            ["task.metric=pearson"],
            "task.metric=pearson: task text_classification has classes: expected one of accuracy",
        ),
        (["task.labels=[]"], "task.metric=accuracy: task text_classification has no labels, it is a regression: expec"),
        (["task.labels=[1,2]"], "label '10' in its training examples: expected one of 1, 2"),
        (["task.data_files=r.doc"], "r.doc: expected a file that ends in .csv, .tsv, .jsonl"),
        (["task.data_files=null"], "names no data: give a .csv"),
    ],
)
def test_bad_data_is_one_line_and_leaves_nothing(model, tmp_path, more, message):
    table([10, 2, 1], 60).to_csv(tmp_path / "r.csv", index=False)
    assert message in refused("finetune", *options(model, tmp_path / "r.csv"), f"folder={tmp_path}/out", *more)
    assert not (tmp_path / "out").exists()


def test_a_hub_that_is_not_there_is_asked_for_by_name(model, tmp_path, monkeypatch):
    monkeypatch.setattr("latadj.utils.hub.reachable", lambda: False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    message = refused("finetune", *options(model, "null"), "task.hub.path=some/reviews", f"folder={tmp_path}/out")
    assert "data set 'some/reviews' is not in its cache" in message
