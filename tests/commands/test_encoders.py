"""finetune, calibrate, predict, info and export of encoders that run their layers otherwise than BERT."""

import json

import pytest
from helpers import toy_project as toy
from helpers.tiny_models import SHARED, tiny
from transformers import AutoTokenizer
from typer.testing import CliRunner

from latadj.cli import app
from latadj.elimination.model_types import SUPPORTED

# Enough to see that it runs, not to learn.
SHORT = ["plain.epochs=1", "adjust.epochs=1", "calibration.examples=16"]
ENCODERS = ("albert", "deberta-v2", "nomic_bert")


def run(*arguments, expect=0):
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found


def write_project(root, architecture):
    toy.write_model(root / "model")
    toy.write_task(root / "data", 64)
    words = len(AutoTokenizer.from_pretrained(root / "model"))
    tiny(architecture, vocab_size=words, num_labels=2).save_pretrained(root / "model")


@pytest.fixture(scope="module", params=ENCODERS)
def project(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    write_project(root, request.param)
    axes = ["adjust.axes=[tokens]"] if request.param in SHARED else []
    run("finetune", *toy.overrides(root), *SHORT, *axes)
    run("calibrate", *toy.overrides(root), "calibration.device_only=true", "clock.rounds=3")
    return request.param, root


def test_its_dial_runs_on_this_device(project):
    architecture, root = project
    run("sweep", *toy.overrides(root), "speedup=[1,2]", "dial.target=flops", "measure.batches=2", "measure.repeats=2")
    rows = json.loads((root / "out" / "sweep" / "sweep.json").read_text())["rows"]
    assert rows[1]["flops_speedup"] == pytest.approx(2, rel=0.2)
    assert (rows[1]["width"] < 1.0) == (architecture not in SHARED)


def test_info_says_what_it_supports(project):
    architecture, root = project
    found = json.loads(run("info", str(root / "out"), "--json").stdout)
    assert found["supports"] == list(SUPPORTED[architecture])
    assert found["dial"]["levels"] > 0 or architecture in SHARED


def test_an_export_is_refused_in_one_line(project):
    architecture, root = project
    found = run("export", f"checkpoint={root / 'out' / 'checkpoint'}", expect=2)
    assert f"its layers are those of a {architecture}, and graphs are made of some encoders only (bert" in found.stderr
    assert found.stderr.count("\n") == 1


def test_width_and_pruning_of_shared_layers_are_refused_before_any_training(tmp_path):
    write_project(tmp_path, "albert")
    found = run("finetune", *toy.overrides(tmp_path), "adjust.axes=[tokens,width]", expect=2)
    reason = "AlbertForSequenceClassification: its layers share their weights, so that no layer can have fewer heads"
    assert reason in found.stderr
    assert not (tmp_path / "out" / "plain").exists()
    run("finetune", *toy.overrides(tmp_path), *SHORT, "adjust.axes=[tokens]")
    assert reason in run("prune", *toy.overrides(tmp_path), expect=2).stderr
