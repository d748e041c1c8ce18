"""`latadj calibrate runtime=auto`, and the commands that use what it found."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from helpers import toy_project as toy
from helpers.command_line import run
from helpers.made_once import made_once
from helpers.served_model import Running
from helpers.tiny_embedders import write_exported, write_pairs

import latadj
from latadj.checkpoints.metadata import Device, read_metadata, write_metadata
from latadj.checkpoints.runtime_times import RuntimeTimes, RuntimeTrial
from latadj.devices.device import place
from latadj.inference.graph_model import GraphModel

HERE = place(torch.device("cpu"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A trained checkpoint, graphs of it beside it in fp32 and int8, and texts."""
    root = tmp_path_factory.mktemp("runtimes")
    toy.write_model(root / "model")
    toy.write_task(root / "data", examples=80)
    where = toy.overrides(root)
    run("finetune", *where, "adjust.axes=[tokens]", "plain.epochs=1", "adjust.epochs=1")
    run("calibrate", *where, "search.trials=0", "calibration.examples=16", "clock.rounds=3", "clock.budget_s=1")
    run("export", *where)
    run("export", *where, "precision=int8", f"output={root / 'out' / 'int8'}")
    (root / "texts.txt").write_text("the film is good\na bad story\n")
    return root


@pytest.fixture(scope="module")
def chosen(root):
    return run("calibrate", *toy.overrides(root), "runtime=auto", "calibration.examples=16", "clock.budget_s=1")


def fake(root, tmp_path, fastest, precision="fp32"):
    """A copy of the run whose checkpoint says that this folder was the fastest."""
    shutil.copytree(root / "out", tmp_path / "out")
    trials = tuple(
        RuntimeTrial(folder, kind, (1.0 if (folder, kind) == (fastest, precision) else 9.0,) * 2)
        for folder, kind in ((None, "fp32"), ("../exported", "fp32"), ("../int8", "int8"))
    )
    checkpoint = tmp_path / "out" / "checkpoint"
    metadata = read_metadata(checkpoint)
    device = replace(metadata.devices[HERE], runtimes=(RuntimeTimes(8, (1.0, 2.0), trials),))
    write_metadata(checkpoint, replace(metadata, devices={HERE: device}))
    return checkpoint


def predict(root, checkpoint, *options, expect=0):
    folder = checkpoint.parent
    found = run(
        "predict",
        *(f"checkpoint={checkpoint}", f"folder={folder}", f"input={root / 'texts.txt'}", "device.name=cpu"),
        *("device.threads=1", "runtime=auto", "overwrite=true", *options),
        expect=expect,
    )
    return found.stderr if expect else json.loads((folder / "predict" / "predict.json").read_text())


def test_the_checkpoint_and_its_graphs_are_timed_at_every_batch_size(root, chosen):
    times = read_metadata(root / "out" / "checkpoint").devices[HERE].runtimes
    assert [one.batch for one in times] == [1, 8, 32]
    for one in times:
        assert [(trial.folder, trial.precision) for trial in one.trials] == [(None, "fp32"), ("../exported", "fp32")]
        assert all(ms > 0 for trial in one.trials for ms in trial.ms)
    assert "the checkpoint, in PyTorch" in chosen.output
    assert chosen.stderr.count("left out") == 0
    assert "../exported" in run("info", str(root / "out" / "checkpoint")).output


def test_graphs_get_a_clock_on_the_way(root, chosen):
    devices = read_metadata(root / "out" / "exported").devices
    assert [list(device.serving) for device in devices.values()] == [["fp32"]]


def test_what_was_found_is_kept_when_the_device_is_measured_again(root, chosen):
    before = read_metadata(root / "out" / "checkpoint").devices[HERE].runtimes
    options = ("calibration.device_only=true", "clock.rounds=3", "clock.budget_s=1")
    run("calibrate", *toy.overrides(root), *options)
    assert read_metadata(root / "out" / "checkpoint").devices[HERE].runtimes == before


@pytest.mark.parametrize(("fastest", "kernel"), [("../exported", "onnxruntime"), (None, None)])
def test_predict_runs_what_was_the_fastest(root, tmp_path, fastest, kernel):
    checkpoint = fake(root, tmp_path, fastest)
    result = predict(root, checkpoint, "speedup=2", "dial.target=flops")
    assert result["checkpoint"] == str(checkpoint if fastest is None else tmp_path / "out" / "exported")
    assert (result["environment"]["kernel"] == "onnxruntime") == (kernel == "onnxruntime")


@pytest.mark.parametrize("chosen", ["../exported", None])
def test_load_gives_what_was_the_fastest(root, tmp_path, chosen):
    checkpoint = fake(root, tmp_path, chosen)
    model, tokenizer = latadj.load(checkpoint, runtime="auto", speedup=1)
    assert isinstance(model, GraphModel) == (chosen is not None)
    plain, _ = latadj.load(checkpoint, speedup=1)
    inputs = tokenizer(["the film is good"], return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "onnxruntime"}, "expected auto"),
        ({"runtime": "auto", "precision": None}, "a precision to serve in"),
        ({"runtime": "auto", "precision": "bf16"}, "no runtime was timed"),
    ],
)
def test_load_refuses_a_runtime_that_it_cannot_choose(root, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        latadj.load(fake(root, tmp_path, None), **options)


def test_a_run_is_gone_on_with_where_the_same_is_the_fastest(root, tmp_path):
    checkpoint = fake(root, tmp_path, "../exported")
    first = predict(root, checkpoint)
    output = Path(first["output"])
    before = output.stat().st_mtime_ns
    assert predict(root, checkpoint, "resume=true", "overwrite=false")["rows"] == first["rows"]
    assert output.stat().st_mtime_ns == before
    metadata = read_metadata(checkpoint)
    device = replace(metadata.devices[HERE], runtimes=())
    write_metadata(checkpoint, replace(metadata, devices={HERE: device}))
    assert "no runtime was timed" in predict(root, checkpoint, "resume=true", "overwrite=false", expect=2)


def test_a_deadline_asks_what_runs_for_its_clock_and_not_the_checkpoint(root, tmp_path, chosen):
    checkpoint = fake(root, tmp_path, "../exported")
    metadata = read_metadata(checkpoint)
    write_metadata(checkpoint, replace(metadata, devices={HERE: replace(metadata.devices[HERE], serving={})}))
    assert predict(root, checkpoint, "deadline_ms=60000")["deadline"]["met_texts"] == 2


def test_a_new_dial_forgets_the_times(root, tmp_path):
    checkpoint = fake(root, tmp_path, "../exported")
    where = [one.replace(str(root / "out"), str(tmp_path / "out")) for one in toy.overrides(root)]
    run("calibrate", *where, "search.trials=0", "calibration.examples=16", "clock.rounds=0")
    assert read_metadata(checkpoint).devices[HERE].runtimes == ()


def test_a_model_that_embeds_is_run_by_what_is_the_fastest_too(tmp_path_factory, tmp_path):
    folder = made_once(tmp_path_factory, "exported-embedder", write_exported) / "out"
    write_pairs(tmp_path / "data", examples=40)
    where = ["task=sts", f"task.data_dir={tmp_path / 'data'}", f"folder={folder}", "device.threads=1"]
    run("calibrate", *where, "runtime=auto", "calibration.examples=8", "clock.rounds=2", "clock.budget_s=1")
    metadata = read_metadata(folder / "checkpoint")
    device = metadata.devices[HERE]
    assert [one.folder for one in device.runtimes[0].trials] == [None, "../exported"]
    graphs = tuple(replace(one, trials=one.trials[1:]) for one in device.runtimes)
    write_metadata(folder / "checkpoint", replace(metadata, devices={HERE: replace(device, runtimes=graphs)}))
    (tmp_path / "in.txt").write_text("the film is good\n")
    run("predict", *where, "runtime=auto", f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'out.npy'}")
    result = json.loads((folder / "predict" / "predict.json").read_text())
    assert result["checkpoint"] == str(folder / "exported")
    expected = latadj.load(folder / "checkpoint").encode(["the film is good"])
    assert np.load(tmp_path / "out.npy") == pytest.approx(expected, abs=1e-5)


def test_int8_is_taken_only_where_the_precision_may_be_it(root, tmp_path):
    checkpoint = fake(root, tmp_path, "../int8", "int8")
    assert predict(root, checkpoint)["environment"]["precision"] == "fp32"
    assert predict(root, checkpoint, "device.precision=auto")["environment"]["precision"] == "int8"


def test_serve_runs_what_was_the_fastest(root, tmp_path, chosen):
    checkpoint = fake(root, tmp_path, "../exported")
    with Running(checkpoint, "runtime=auto", "max_drop=null") as server:
        assert server.post({"inputs": "a good film"}).status_code == 200
        assert server.service.config.checkpoint == str(tmp_path / "out" / "exported")


def test_a_device_that_was_measured_before_there_were_runtimes_is_read(root, tmp_path):
    folder = shutil.copytree(root / "out" / "checkpoint", tmp_path / "old")
    data = json.loads((folder / "latadj.json").read_text())
    for device in data["devices"].values():
        device.pop("runtimes", None)
    (folder / "latadj.json").write_text(json.dumps(data))
    assert read_metadata(folder).devices[HERE].runtimes == ()


def test_nothing_is_chosen_where_nothing_was_timed(root, tmp_path):
    shutil.copytree(root / "out", tmp_path / "out")
    checkpoint = tmp_path / "out" / "checkpoint"
    metadata = read_metadata(checkpoint)
    write_metadata(checkpoint, replace(metadata, devices={HERE: Device()}))
    message = predict(root, checkpoint, expect=2)
    assert "runtime=auto: no runtime was timed on this device" in message
    assert "runtime=auto device.precision=fp32`" in message


@pytest.mark.parametrize("harm", ["gone", "another dial"])
def test_graphs_that_are_gone_or_of_another_dial_are_refused(root, tmp_path, harm):
    checkpoint = fake(root, tmp_path, "../exported")
    exported = tmp_path / "out" / "exported"
    if harm == "gone":
        shutil.rmtree(exported)
    else:
        metadata = read_metadata(exported)
        write_metadata(exported, replace(metadata, dial=replace(metadata.dial, layer_acc=(0.5,) * 4)))
    assert ("is gone; export it again" if harm == "gone" else "holds another dial than") in predict(
        root, checkpoint, expect=2
    )


def test_a_run_without_graphs_is_pointed_at_export(root, tmp_path):
    shutil.copytree(root / "out" / "checkpoint", tmp_path / "out" / "checkpoint")
    shutil.copytree(root / "out" / "plain", tmp_path / "out" / "plain")
    where = [one.replace(str(root / "out"), str(tmp_path / "out")) for one in toy.overrides(root)]
    found = run("calibrate", *where, "runtime=auto", "calibration.examples=16", expect=2)
    assert "there are no graphs of" in found.stderr
    assert "make some with `latadj export`" in " ".join(found.stderr.split())


@pytest.mark.parametrize(("speedup", "folder"), [(1.2, None), (2.5, "graphs"), (None, "graphs")])
def test_the_fastest_is_that_of_the_nearest_speedup_or_of_all(speedup, folder):
    trials = (RuntimeTrial(None, "fp32", (2.0, 6.0)), RuntimeTrial("graphs", "fp32", (3.0, 1.0)))
    assert RuntimeTimes(8, (1.0, 3.0), trials).fastest(speedup, lambda trial: True).folder == folder
    assert RuntimeTimes(8, (1.0, 3.0), trials).fastest(speedup, lambda trial: False) is None
