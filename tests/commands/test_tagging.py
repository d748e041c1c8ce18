"""finetune -> calibrate -> sweep -> eval on tagged sentences, through the real command line."""

import csv
import json

import numpy as np
import pytest
import torch
from helpers import tagging_data as tagging
from seqeval.metrics import f1_score
from transformers import AutoModelForTokenClassification, pipeline
from typer.testing import CliRunner

import latadj
from latadj.cli import app


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tagging")
    tagging.write_model(root / "model")
    tagging.write_task(root / "data")
    alone = "adjust.axes=[tokens]"  # so that the words give all of the speedup
    steps = [
        ["finetune", "plain.epochs=6", "adjust.epochs=3", "model.learning_rate=3e-3", "plain.warmup=0", alone],
        ["calibrate", "search.trials=4", "search.speedups=[2]", "calibration.examples=64", "clock.rounds=0"],
        ["sweep", "speedup=[1,2]", "measure.batches=2", "measure.repeats=2", "measure.warmup=1"],
        ["eval", "speedup=2", "measure.examples=10"],
    ]
    for command, *options in steps:
        result = run(command, *tagging.overrides(root), *options)
        assert result.exit_code == 0, result.output
    return root


@pytest.fixture(scope="module")
def sweep(root):
    return json.loads((root / "out" / "sweep" / "sweep.json").read_text())


def test_the_tags_are_learnt_and_little_is_lost_at_twice_the_speed(sweep):
    full, cut = sweep["rows"]
    assert (sweep["metric"], sweep["test_examples"]) == ("entity_f1", 160)
    assert full["metric"] > 0.8
    assert cut["metric"] > full["metric"] - 0.1
    assert 0.9 < cut["agreement"] <= 1.0 == full["agreement"]
    assert cut["flops_speedup"] == pytest.approx(2, rel=0.1)
    assert full["flops_speedup"] == 1.0  # every word is read, so nothing is free


def test_a_row_of_the_sweep_has_all_scores_and_their_interval(sweep):
    for row in sweep["rows"]:
        assert set(row["scores"]["eng.testb"]) == {"entity_f1", "precision", "recall", "accuracy"}
        assert row["scores"]["eng.testb"]["entity_f1"] == row["metric"]
        assert row["metric_ci"][0] <= row["metric"] <= row["metric_ci"][1]
        assert row["drop_ci"][0] <= row["drop"] <= row["drop_ci"][1]
        assert row["measured"]["bucketed"]["speedup"] > 0


def test_word_vectors_are_eliminated_and_their_words_tagged_all_the_same(root, sweep):
    assert sweep["rows"][1]["keep"][-1] < 0.5
    with (root / "out" / "eval" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    number = [int(row["sentence"]) for row in rows]
    assert len(set(number)) == 160
    assert {row["prediction"] for row in rows} <= set(tagging.LABELS)
    ends = np.flatnonzero(np.diff(number)) + 1
    right, said = (
        [part.tolist() for part in np.split(np.array([row[name] for row in rows]), ends)]
        for name in ("tag", "prediction")
    )
    found = json.loads((root / "out" / "eval" / "eval.json").read_text())
    assert found["scores"]["eng.testb"]["entity_f1"] == pytest.approx(f1_score(right, said))
    assert found["scores"]["eng.testb"]["entity_f1"] == sweep["rows"][1]["metric"]


def test_a_drop_of_tags_chooses_a_speedup(root):
    model, _ = latadj.load(root / "out" / "checkpoint", max_drop=100, precision=None)
    assert latadj.speedup_of(model) > 2


def test_the_labels_are_those_of_the_training_data(root):
    sidecar = json.loads((root / "out" / "checkpoint" / "latadj.json").read_text())
    assert sidecar["task_spec"]["labels"] == tagging.LABELS
    assert (sidecar["task_spec"]["type"], sidecar["task_spec"]["metric"]) == ("token_classification", "entity_f1")
    config = json.loads((root / "out" / "checkpoint" / "config.json").read_text())
    assert list(config["id2label"].values()) == tagging.LABELS
    assert config["architectures"] == ["BertForTokenClassification"]


def test_the_checkpoint_serves_in_plain_transformers_and_along_its_dial(root):
    folder = root / "out" / "checkpoint"
    model, tokenizer = latadj.load(folder)
    plain = AutoModelForTokenClassification.from_pretrained(folder).eval()
    batch = tokenizer(["Anna Berg lives in New Haven"], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, plain(**batch).logits, atol=1e-5, rtol=1e-4)
    latadj.set_speedup(model, 2)
    found = pipeline("token-classification", model=model, tokenizer=tokenizer)("Anna Berg lives in Oslo")
    assert {(part["word"], part["entity"]) for part in found} >= {("Anna", "B-PER"), ("Oslo", "B-LOC")}


def test_a_checkpoint_can_be_tested_without_training_sentences(root, tmp_path):
    (tmp_path / "mine.conll").write_text("Anna B-PER\nlives O\nin O\nOslo B-LOC\n\nOtto B-PER\nwas O\nlate O\n")
    options = ["task=token_classification", "task.name=conll2003", f"task.data_files={{test:{tmp_path}/mine.conll}}"]
    common = [*tagging.overrides(root)[1:2], "device.threads=1", "device.name=cpu", f"folder={tmp_path / 'out'}"]
    checkpoint = f"checkpoint={root / 'out' / 'checkpoint'}"
    result = run("eval", *options, *common, checkpoint, "measure.examples=2", "task.max_length=24")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "eval" / "eval.json").read_text())
    assert found["scores"]["test"]["entity_f1"] > 0.6


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("task.metric=accuracy", "task.metric=accuracy: expected one of entity_f1"),
        ("task.text=[a,b]", "expected one column, the list of a sentence's words"),
        ("task.labels=[O,B-PER]", "in its training sentences: expected O, B-PER"),
        ("prompt=zero_shot", "a prompt asks for the class of a text; task=conll2003 is of type token_classification"),
    ],
)
def test_wrong_options_are_refused_in_one_line(root, option, message, tmp_path):
    result = run("finetune", *tagging.overrides(root), f"folder={tmp_path / 'out'}", option)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "out" / "finetune" / "state.json").exists()


def test_tags_that_mark_no_entities_are_refused_for_entity_f1(root, tmp_path):
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / name).write_text("Anna PER\nwas O\n")
    result = run("finetune", *tagging.overrides(root), f"task.data_dir={tmp_path}", f"folder={tmp_path / 'out'}")
    assert result.exit_code == 2
    assert "the tag 'PER' marks no entity" in result.output
