"""calibrate -> sweep -> eval -> generate of a language model that nobody trained, through the real command line."""

import json

import pytest
from helpers.tiny_language_models import write_language_model
from typer.testing import CliRunner

from latadj.cli import app

LINES = 60


@pytest.fixture(scope="module", params=["llama", "t5"])
def out(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    write_language_model(root / "model", request.param)
    words = ["the", "speech", "was", "long", "and", "nobody", "listened", "to", "it"]
    lines = (" ".join(words[(start + step) % 9] for step in range(45)) for start in range(LINES))
    (root / "text.txt").write_text("\n".join(f"{line} word{20 + number % 30}" for number, line in enumerate(lines)))
    common = [
        f"model={'flan_t5' if request.param == 't5' else request.param}",
        "task=text",
        f"model.path={root / 'model'}",
        f"task.data_files={root / 'text.txt'}",
        f"folder={root / 'out'}",
        "task.block_words=40",
        "task.prompt_length=24",
        "task.continuation_length=4",
        "device.threads=1",
        "device.name=cpu",
    ]
    for command, *options in (
        ["calibrate", "calibration.examples=6", "search.trials=4", "search.speedups=[2]", "clock.rounds=0"],
        ["calibrate", "calibration.device_only=true", "clock.rounds=2", "clock.budget_s=5"],
        ["sweep", "speedup=[1,1.5]", "dial.target=flops", "measure.prompts=1", "measure.repeats=2", "measure.warmup=1"],
        ["eval", "speedup=1.5", "dial.target=flops", "measure.prompts=2", "measure.warmup=1"],
    ):
        found = CliRunner().invoke(app, [command, *common, *options], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        if not (root / "out" / "first").exists():
            (root / "out" / "calibrate").rename(root / "out" / "first")
            (root / "out" / "first" / "calibrate.json").rename(root / "out" / "first" / "first.json")
    return root / "out"


def read(out, command):
    return json.loads((out / command / f"{command}.json").read_text())


def test_a_model_as_it_is_gets_a_checkpoint_with_a_dial(out):
    saved = json.loads((out / "checkpoint" / "latadj.json").read_text())
    assert saved["dial"]["drops"] == []
    assert "drops along the dial are not measured (a language model's" in (out / "first" / "calibrate.log").read_text()
    assert saved["task"] == "text"
    assert saved["dial"]["profile_type"] == "searched"
    assert saved["dial"]["anchors"]
    (device,) = saved["devices"].values()
    assert device["serving"]["fp32"]["models"][0]["batch"] == 1


def test_a_decoders_window_is_the_best_of_those_tried(out):
    dial = json.loads((out / "checkpoint" / "latadj.json").read_text())["dial"]
    tried = read(out, "first")["tried"]
    if not dial["shapes"][0]["causal"]:
        assert tried == []
        return
    assert len(tried) == 18
    assert [trial["divergence"] for trial in tried] == sorted(trial["divergence"] for trial in tried)
    assert dial["window"] == tried[0]["window"]


def test_the_sweep_and_eval_agree(out):
    swept, found = read(out, "sweep"), read(out, "eval")
    assert [row["speedup"] for row in swept["rows"]] == [1.0, 1.5]
    assert swept["rows"][0]["metric"] == pytest.approx(swept["plain_metric"], rel=1e-3)
    assert found["scores"]["test"]["perplexity"] == pytest.approx(swept["rows"][1]["metric"], rel=1e-3)
    assert swept["rows"][1]["cache_bytes_ratio"] < 1
