"""A model that was fine-tuned along tokens and width, from finetune to report, once, through the real command line."""

import json

import pytest
import torch
from helpers import language_project as language
from helpers import tagging_data as tagging
from helpers import toy_project as toy
from helpers.made_once import made_once
from helpers.trained_project import LEARN
from typer.testing import CliRunner

import latadj
from latadj.checkpoints.metadata import read_metadata
from latadj.cli import app
from latadj.elimination.attach import attached, dial_of

WIDE = ["adjust.axes=[tokens,width]", "adjust.widths=[0.75,0.5,0.25]"]


def run(*arguments):
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def write_wide(root):
    toy.write_model(root / "model")
    toy.write_task(root / "data")
    common = toy.overrides(root)
    run("finetune", *common, *LEARN, *WIDE)
    run("calibrate", *common, "calibration.device_only=true", "clock.rounds=3")
    run("sweep", *common, "speedup=[1,2,4]", "dial.target=flops", "measure.batches=2", "measure.repeats=2")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made_once(tmp_path_factory, "wide", write_wide)


@pytest.fixture(scope="module")
def dial(root):
    return read_metadata(root / "out" / "checkpoint").dial


def test_the_dial_has_levels_and_knows_the_widths_of_the_training(dial):
    assert dial.widths == (0.75, 0.5, 0.25)
    assert dial.levels


def test_the_plain_model_is_not_reordered_and_the_checkpoint_computes_with_plain_transformers_too(root):
    model, tokenizer = latadj.load(root / "out" / "checkpoint", precision=None)
    inputs = tokenizer("a fine film", return_tensors="pt")
    with torch.no_grad():
        own = model(**inputs).logits
        latadj.detach(model)
        assert torch.allclose(model(**inputs).logits, own, atol=1e-5)


def test_a_sweep_says_how_wide_the_layers_are(root):
    sweep = json.loads((root / "out" / "sweep" / "sweep.json").read_text())
    widths = [row["width"] for row in sweep["rows"]]
    assert widths[0] == 1.0
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 1.0
    for row in sweep["rows"]:
        assert row["flops_speedup"] == pytest.approx(row["speedup"], rel=0.2) or row["speedup"] == 1.0
    assert "width" in (root / "out" / "sweep" / "sweep.md").read_text()
    assert sweep["baseline_metric"] > 0.8


@pytest.mark.parametrize("precision", [None, "fp32"])
def test_a_loaded_model_turns_to_any_speedup_at_its_level(root, precision):
    model, tokenizer = latadj.load(root / "out" / "checkpoint", precision=precision)
    inputs = tokenizer(["a fine film", "dull"], return_tensors="pt", padding=True)
    levels = set()
    reach = dial_of(model).reach()  # in the time of a tiny model, dials end early
    for speedup in (1.0, 1 + (reach - 1) / 2, reach):
        latadj.set_speedup(model, speedup)
        levels.add(attached(model).options().profile.level)
        with torch.no_grad():
            assert model(**inputs).logits.isfinite().all()
    assert len(levels) > 1


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "speedup=2", "dial.target=flops", "measure.examples=10"],
        ["explain", "a fine film", "speedup=2", "dial.target=flops"],
        ["info"],
        ["report"],
    ],
    ids=lambda command: command[0],
)
def test_what_reads_a_dial_reads_its_levels(root, command):
    name, *options = command
    if name == "info":
        assert "width" in run("info", str(root / "out" / "checkpoint")).output
        return
    if name == "report":
        run("report", *toy.overrides(root))
        return
    where = [f"checkpoint={root / 'out' / 'checkpoint'}", "device=cpu"] if name == "explain" else toy.overrides(root)
    run(name, *options, *where)


def test_a_dial_calibrated_again_keeps_the_widths(root):
    checksum = read_metadata(root / "out" / "checkpoint").order_checksum
    run("calibrate", *toy.overrides(root), "search.trials=4", "search.speedups=[2]", "clock.rounds=0")
    found = read_metadata(root / "out" / "checkpoint")
    assert found.dial.widths == (0.75, 0.5, 0.25)
    assert found.order_checksum == checksum is not None


def language_model(kind):
    def overrides(root):
        options = language.overrides(root, kind)
        return [*options, "adjust.eval_steps=4"], [*language.shared(options), "measure.prompts=0"]

    return overrides


def tagger(root):
    tagging.write_model(root / "model")
    tagging.write_task(root / "data")
    options = tagging.overrides(root)
    return [*options, "plain.max_steps=1"], [*options, "measure.batches=1", "measure.repeats=2"]


@pytest.mark.parametrize("make", [language_model("llama"), language_model("t5"), tagger], ids=["llama", "t5", "tagger"])
def test_other_heads_are_trained_and_run_along_their_width(make, tmp_path):
    learn, options = make(tmp_path)
    run("finetune", *learn, "adjust.axes=[tokens,width]", "adjust.max_steps=4")
    run("sweep", *options, "speedup=[1,2]", "dial.target=flops")
    rows = json.loads((tmp_path / "out" / "sweep" / "sweep.json").read_text())["rows"]
    assert rows[0]["width"] == 1.0 > rows[1]["width"]
