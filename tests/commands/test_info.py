"""latadj info, through the real command line, on folders made without training."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone

import pytest
import torch
from helpers import toy_project as toy
from helpers.measured_drops import with_drops
from helpers.tiny_language_models import with_dial, write_language_model
from helpers.tiny_models import tiny
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from latadj.checkpoints.metadata import CheckpointMetadata, Device, Serving, TaskSpec, write_metadata
from latadj.cli import app
from latadj.devices.device import place
from latadj.devices.hardware_key import HardwareKey
from latadj.devices.measured_times import cache_file, layer_work
from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Anchor
from latadj.reporting.results.dial_positions import some_layers
from latadj.utils.files import write_json

HERE = place(torch.device("cpu"))
PURPOSE = TaskSpec("classification", ["sentence"], ["negative", "positive"], "accuracy", 128, 32)
DIAL = Dial(
    layer_acc=(0.9, 0.8, 0.7, 0.6),
    lengths=(16, 24),
    shapes=(LayerShape(1024, 2048, 1024, 4096, 32),) * 4,
    profile_type="searched",
    anchors=(Anchor(2.0, (0.9, 0.6, 0.3, 0.2)), Anchor(4.0, (0.5, 0.2, 0.1, 0.1))),
)
NOTES = {
    "run": "a1b2",
    "seed": 7,
    "validation": {"plain": {"eval_accuracy": 0.91, "seconds": 1.0}},
    "calibration": {"examples": 64},
}


def info(*arguments, expect=0):
    found = CliRunner().invoke(app, ["info", *map(str, arguments)], catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found


def info_json(*arguments):
    return json.loads(info(*arguments, "--json").stdout)


def latency(batch):
    line, none = Ramp(0.0, (1.0, 64.0), (0.063,)), Ramp(0.0, (1.0, 64.0), (0.0,))
    return LatencyModel(batch, line, none, line, none, none, error=0.02)


def calibrated_on(name, **options):
    serving = {"fp32": Serving("onednn", (latency(32), latency(1))), "int8": Serving("x86", (latency(32),))}
    trials = {"fp32": {"agreement": 1.0, "ms": 2.0}, "int8": {"agreement": 0.999, "ms": 1.0}}
    device = replace(Device("int8", trials, serving), **options)
    return CheckpointMetadata("sst2", DIAL, NOTES, {name: device}, PURPOSE)


@pytest.fixture
def run(tmp_path):
    """A run's folder, with a checkpoint that was calibrated here."""
    folder = tmp_path / "run"
    write_metadata(toy.write_model(folder / "checkpoint"), calibrated_on(HERE))
    return folder


def result(folder, name, time="2099-01-01T00:00:00+00:00", checkpoint="run/checkpoint", **other):
    data = {
        **{"task": "sst2", "metric": "accuracy", "environment": {"time": time}, "config": {"checkpoint": checkpoint}},
        **other,
    }
    (folder / name).mkdir()
    (folder / name / f"{name}.json").write_text(json.dumps(data))


def test_a_dial_with_levels_says_what_they_take_in_memory(run):
    shape, half = LayerShape(1024, 2048, 1024, 4096, 32, heads=4, neurons=64), Level((2,) * 4, (32,) * 4)
    anchors = (DIAL.anchors[0], replace(DIAL.anchors[1], level=half))
    levels = replace(DIAL, shapes=(shape,) * 4, anchors=anchors)
    write_metadata(run / "checkpoint", CheckpointMetadata("sst2", levels, NOTES, {}, PURPOSE))
    found = info_json(run)
    parameters, layers = found["model"]["parameters"], 4 * 8192
    assert found["dial"]["levels"] == 1
    assert found["dial"]["memory"]["fp32"] == pytest.approx((parameters + layers / 2) / parameters)
    assert found["dial"]["memory"]["int8"] == pytest.approx((parameters - layers + 1.5 * layers / 4) / parameters)
    assert "1; laid out for all, weights take the plain model's" in info(run).stdout
    write_metadata(run / "checkpoint", CheckpointMetadata("sst2", DIAL, NOTES, {}, PURPOSE))
    assert "laid out for all" not in info(run).stdout


def test_the_model_is_described_without_loading_it(run):
    found = info_json(run)
    model = AutoModelForSequenceClassification.from_pretrained(run / "checkpoint")
    shape = found["model"]
    assert shape["architecture"] == "BertForSequenceClassification"
    assert (shape["type"], shape["layers"], shape["width"], shape["heads"]) == ("bert", 4, 32, 4)
    assert shape["parameters"] == model.num_parameters()
    assert shape["formats"] == {"F32": model.num_parameters()}
    assert shape["bytes"] == (run / "checkpoint" / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("model_type", "supports"),
    [("bert", "tokens, width, pruning, export"), ("deberta-v2", "tokens, width, pruning"), ("albert", "tokens")],
)
def test_what_models_of_its_kind_support_is_said(tmp_path, model_type, supports):
    tiny(model_type).save_pretrained(tmp_path)
    assert info_json(tmp_path)["supports"] == supports.split(", ")
    facts = [line.split() for line in info(tmp_path).stdout.splitlines()]
    assert ["supports", *supports.split()] in facts


def test_a_kind_that_is_not_known_is_said_to_support_nothing(tmp_path):
    tiny("bert").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bart"}))
    assert info_json(tmp_path)["supports"] == []
    said = info(tmp_path)
    assert "nothing: latadj does not know a bart" in said.stdout
    assert "model type 'bart' is not supported, since of encoders that feed a decoder" in said.stderr
    assert "make one with" not in said.stderr


def test_a_run_folder_and_its_checkpoint_say_the_same(run):
    assert info_json(run) == info_json(run / "checkpoint")


def test_the_dial_is_marked_in_time_where_it_was_calibrated(run):
    found = info_json(run)
    dial = found["dial"]
    assert (dial["target"], dial["precision"], dial["batch"]) == ("latency", "int8", 32)
    assert [position["speedup"] for position in dial["positions"]] == [1, 1.5, 2, 3, 4, 5]
    for position in dial["positions"][:4]:
        assert position["predicted"] == pytest.approx(position["speedup"], rel=1e-2)
        assert position["batch_ms"] == pytest.approx(dial["positions"][0]["batch_ms"] / position["predicted"])
        assert position["keep"] == list(DIAL.on(latency(32)).profile(position["speedup"]).keep)
    assert found["devices"][0]["here"]
    assert found["warnings"] == []


def test_what_is_out_of_reach_is_said_and_not_left_out(run):
    write_metadata(run / "checkpoint", replace(calibrated_on(HERE), dial=replace(DIAL, max_flops=2.5)))
    found = info_json(run)["dial"]
    assert found["reach"] < 4
    assert found["positions"][-1] == dict.fromkeys(found["positions"][-1]) | {"speedup": 5.0}
    assert "out of reach" in info(run).stdout


def test_drops_stand_beside_the_speedups(run):
    assert "95%" not in info(run).stdout
    metadata = calibrated_on(HERE)
    metadata.dial = with_drops(DIAL)
    metadata.notes = {"calibration": {"examples": 64, "validation_examples": 200}}
    write_metadata(run / "checkpoint", metadata)
    for position in info_json(run)["dial"]["positions"][:4]:
        timed = metadata.dial.on(latency(32))
        drop = timed.drop_of(timed.profile(position["speedup"]))
        assert (position["drop"], position["drop_ci"]) == (drop.drop, [drop.low, drop.high])
    found = " ".join(info(run).stdout.split())
    assert "+0.00 -0.5 to +0.5" in found
    assert "drops in points, on 200 validation examples" in found


def test_the_terminal_shows_task_dial_devices_and_metrics(run):
    shown = " ".join(info(run).stdout.split())
    for part in (
        *("BertForSequenceClassification, 4 layers, width 32, 4 heads", "task sst2", "labels negative, positive"),
        *(
            "profile=searched, score=acc, searched at 2, 4",
            "layer ACC 0.90 0.80 0.70 0.60",
            "on 64 training examples",
        ),
        *("128 tokens, 32 texts a batch", "seed 7, run a1b2", "int8 (auto) x86 32 2.0%", "plain accuracy 0.91"),
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("Cray-1, cpu, 2 threads, torch 2.13.0", ["is not one it was calibrated on (Cray-1, cpu, 2 threads"]),
        ("what is this", ["is not one it was calibrated on (what is this)"]),
        (str(replace(HardwareKey.of(HERE), threads=77)), ["with 77 threads", "give device.threads=77"]),
    ],
)
def test_another_device_is_a_warning_with_what_to_run(run, name, messages):
    write_metadata(run / "checkpoint", calibrated_on(name))
    found = info(run)
    for message in messages:
        assert message in found.stderr
    assert f"`latadj calibrate task=sst2 folder={run} calibration.device_only=true`" in found.stderr
    assert found.stderr.count("\n") == 1
    written = info_json(run)
    assert (written["dial"]["target"], written["dial"]["precision"]) == ("flops", None)
    assert written["warnings"] == [found.stderr.removeprefix("latadj info: ").strip()]


def test_a_foreign_transformers_folder_is_described_too(tmp_path):
    folder = toy.write_model(tmp_path / "foreign", layers=3)
    found = info_json(folder)
    assert (found["task"], found["task_spec"], found["dial"], found["devices"]) == (None, None, None, [])
    assert found["model"]["layers"] == 3
    shown = info(folder)
    assert "latadj did not make it" in shown.stdout
    assert f"`latadj calibrate task=TASK checkpoint={folder}`" in shown.stderr


def test_a_checkpoint_without_a_dial(run):
    write_metadata(run / "checkpoint", CheckpointMetadata("sst2", None, NOTES, {}, PURPOSE))
    found = info(run)
    assert (
        f"there is no dial, so it runs at speedup 1 only: make one with `latadj calibrate task=sst2 folder={run}`"
        in (found.stderr)
    )
    assert "accuracy 0.91" in found.stdout


def test_a_decoder_has_its_window(tmp_path):
    folder = with_dial(write_language_model(tmp_path / "writer"))
    found = info_json(folder)
    assert found["model"]["type"] == "llama"
    data = json.loads((folder / "latadj.json").read_text())
    data["dial"]["window"] = {"window_size": 8, "sink_tokens": 4, "recent_ratio": 0.5, "kernel_size": 3}
    (folder / "latadj.json").write_text(json.dumps(data))
    assert info_json(folder)["dial"]["window"] == "window_size=8, sink_tokens=4, recent_ratio=0.5, kernel_size=3"


def test_half_precision_and_shards_are_counted(tmp_path):
    folder = toy.write_model(tmp_path / "shards")
    whole = info_json(folder)["model"]
    model = AutoModelForSequenceClassification.from_pretrained(folder).to(torch.bfloat16)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    found = info_json(folder)["model"]
    assert (found["parameters"], found["formats"]) == (whole["parameters"], {"BF16": whole["parameters"]})
    next(folder.glob("model-*.safetensors")).unlink()
    assert "no such file, though the index beside it names it" in info(folder, expect=2).stderr


def test_test_results_beside_the_checkpoint_are_shown(run):
    rows = [{"speedup": 1.0, "metric": 0.9}, {"speedup": 1.5, "metric": 0.88}]
    result(run, "sweep", baseline_metric=0.9, rows=rows)
    result(run, "eval", speedup=3.0, scores={"dev": {"accuracy": 0.8}})
    found = info_json(run)["tested"]
    assert [part["scores"] for part in found] == [{"1": 0.9, "1.5": 0.88}, {"3": 0.8}]
    assert not any(part["older"] for part in found)
    assert "1x 0.9, 1.5x 0.88" in info(run).stdout


def test_results_of_another_checkpoint_are_not_and_older_ones_are_marked(run):
    rows = [{"speedup": 1.0, "metric": 0.9}]
    result(run, "eval", checkpoint="run/other", speedup=3.0, scores={"dev": {"accuracy": 0.8}})
    long_ago = datetime(2001, 1, 1, tzinfo=timezone.utc).isoformat()
    result(run, "sweep", time=long_ago, baseline_metric=0.9, rows=rows)
    found = info_json(run)
    assert [part["older"] for part in found["tested"]] == [True]
    assert "run `latadj sweep` again" in found["warnings"][0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", None),
        ("model.safetensors", b"short", "these weights are damaged or were cut short"),
        ("latadj.json", b'{"schema": "latadj.chec', "dial file is damaged or was cut short"),
        ("latadj.json", b'{"schema": "other/1"}', "schema 'other/1'"),
        ("config.json", b"[]", "config.json: expected an object, got list"),
        ("config.json", b"{}", "expected a transformers config with a model_type"),
        ("config.json", b'{"model_type": "bert", "architectures": 3}', "architectures=3: expected a list of names"),
        ("config.json", b"[" * 100_000, "transformers model is damaged or was cut short"),
        ("config.json", b"\xff", "transformers model is damaged or was cut short"),
    ],
)
def test_damaged_files_are_one_line(run, name, content, message):
    (run / "checkpoint" / name).write_bytes(content)
    if message is None:
        assert info_json(run)["model"]["parameters"] == 0
        return
    found = info(run, expect=2)
    assert message in found.stderr
    assert found.stderr.startswith("latadj info: ")
    assert found.stderr.count("\n") == 1


def test_a_note_beyond_floating_point_is_shown(run):
    noted = {"validation": {"plain": {"eval_accuracy": 10**400}}}
    write_metadata(run / "checkpoint", replace(calibrated_on(HERE), notes=noted))
    assert "1000000" in info(run).stdout


def test_weights_that_were_cut_short(run):
    path = run / "checkpoint" / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "these weights are damaged or were cut short" in info(run, expect=2).stderr


def test_a_missing_folder_and_a_file(tmp_path):
    assert "nowhere: no such folder" in info(tmp_path / "nowhere", expect=2).stderr
    (tmp_path / "file").touch()
    assert "this is a file; name a checkpoint's folder" in info(tmp_path / "file", expect=2).stderr


def test_the_default_is_the_default_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "checkpoint outputs/minilm-rotten_tomatoes/checkpoint: no such folder" in info(expect=2).stderr
    toy.write_model(tmp_path / "outputs" / "minilm-rotten_tomatoes" / "checkpoint")
    assert info_json()["model"]["type"] == "bert"


def test_neither_torch_nor_transformers_is_imported(run):
    code = (
        "import sys; from pathlib import Path; from latadj.commands.info import run; run(Path(sys.argv[1]));"
        "sys.exit(bool({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    known = {**os.environ, "OMP_NUM_THREADS": str(HardwareKey.of(HERE).threads)}
    found = subprocess.run([sys.executable, "-c", code, str(run)], env=known, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("count", "layers"), [(4, [1, 2, 3, 4]), (7, [1, 2, 3, 4, 5, 6, 7]), (12, [1, 3, 5, 7, 8, 10, 12])]
)
def test_layers_are_shown_evenly(count, layers):
    assert some_layers(count) == layers
    assert some_layers(30)[0] == 1
    assert some_layers(30)[-1] == 30


@pytest.mark.parametrize(
    "text", [HERE, "Intel, Inc. Xeon, cpu, 12 threads, torch 2.13.0+cpu", "NVIDIA A100, cuda, torch 2.13.0+cu130"]
)
def test_a_place_survives_its_name(text):
    assert str(HardwareKey.of(text)) == text


@pytest.mark.parametrize(("bf16_ms", "expected"), [(1.0, "bf16"), (2.0, "fp32")])
def test_what_auto_takes_here_is_said_with_the_reason(run, tmp_path, monkeypatch, bf16_ms, expected):
    assert info_json(run)["auto"].startswith(
        "int8, by calibration; fp32 2 ms a batch, 100.0% agree with fp32; int8 1 ms"
    )
    write_metadata(run / "checkpoint", calibrated_on(HERE, precision=None, trials={}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert info_json(run)["auto"] is None
    shape = info_json(run)["model"]
    work = layer_work(shape["type"], shape["width"], 32, 64)
    write_json(cache_file(), {"milliseconds": {work: {HERE: {"fp32": 2.0, "bf16": bf16_ms}}}})
    assert f"{expected}: a layer takes {bf16_ms:g} ms in bf16, 2 ms in fp32" in info(run).output
