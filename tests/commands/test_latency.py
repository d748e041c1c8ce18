"""The device's clock through the real command line: calibrate writes it, sweep, eval and load go by it."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch
from helpers import toy_project as toy
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from typer.testing import CliRunner

import latadj
from latadj.benchmark.kernel_selection import kernels
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, Device, Serving, TaskSpec, read_metadata, write_metadata
from latadj.cli import app
from latadj.commands import calibrate
from latadj.devices.affinity import affinity, pin
from latadj.devices.device import place
from latadj.devices.measured_times import Timing
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import dial_of
from latadj.elimination.current_setting import at_speedup
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import kernel_of
from latadj.reporting.results.sweep import OWN
from latadj.utils.serialization import unstructure

CPU = torch.device("cpu")
BATCH = 16


def has_int8():
    return any(engine in torch.backends.quantized.supported_engines for engine in ("x86", "fbgemm", "qnnpack"))


int8 = pytest.mark.skipif(not has_int8(), reason="this torch has no engine for int8")


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def done(*arguments):
    found = run(*arguments)
    assert found.exit_code == 0, found.output
    return found


def refused(*arguments):
    found = run(*arguments)
    assert found.exit_code == 2, found.output
    assert found.stderr.count("\n") == 1, found.stderr
    return found.stderr


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkpoint with a dial, which no device has measured yet."""
    root = tmp_path_factory.mktemp("latency")
    toy.write_task(root / "data", examples=120)
    folder = toy.write_model(root / "model")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    dial = Dial(layer_acc=(0.9, 0.8, 0.7, 0.6), lengths=tuple(range(6, 24)), shapes=layer_shapes(model))
    checkpoint.save(
        model, AutoTokenizer.from_pretrained(folder), root / "out" / "checkpoint", CheckpointMetadata("sst2", dial)
    )
    return root


def common(root, folder, checkpoint):
    own = [item for item in toy.overrides(root) if not item.startswith("folder=")]
    return [*own, f"folder={folder}", f"checkpoint={checkpoint}", f"task.batch_size={BATCH}"]


@pytest.fixture(scope="module")
def calibrated(root):
    """Calibrated on this device twice, in fp32 and then in int8 for the device alone; the metadata after each."""
    folder = shutil.copytree(root / "out" / "checkpoint", root / "calibrated" / "checkpoint")
    options = [*common(root, root / "calibrated", folder), "clock.rounds=2", "calibration.examples=24"]
    after = []
    done("calibrate", *options, "search.trials=0", "calibration.every=2")
    after.append(read_metadata(folder))
    if has_int8():
        done("calibrate", *options, "calibration.device_only=true", "device.precision=int8")
        after.append(read_metadata(folder))
    return after


def test_calibrate_measures_the_device(calibrated):
    first = calibrated[0]
    assert list(first.devices) == [place(CPU)]
    device = first.devices[place(CPU)]
    assert (device.precision, list(device.serving)) == (None, ["fp32"])
    (model,) = device.serving["fp32"].models
    assert device.serving["fp32"].kernel in kernels("fp32", CPU)
    assert model.batch == BATCH
    assert model.entering.knots[-1] >= 22 > model.entering.knots[0] == 1
    assert model.seconds(Profile.full(4), [6, 22], "pooled").min() > 0
    assert (first.dial.every, first.dial.max_flops, first.dial.latency) == (2, 8.0, None)


@int8
def test_another_precision_joins_what_is_known_and_the_dial_stays(calibrated, root):
    first, second = calibrated
    assert second.dial == first.dial
    serving = second.devices[place(CPU)].serving
    assert serving["fp32"] == first.devices[place(CPU)].serving["fp32"]
    assert serving["int8"].kernel in kernels("int8", CPU)
    found = read(root / "calibrated" / "calibrate" / "calibrate.json")
    assert found["schema"] == "latadj.calibrate/2"
    assert found["device"]["place"] == place(CPU)
    assert found["device"]["serving"] == json.loads(json.dumps({"int8": asdict(serving["int8"])}))
    assert found["by_rank"] is None
    assert found["dial"] == json.loads(json.dumps(unstructure(first.dial)))
    assert found["profiles"][0] | {"flops_speedup": 0} == {
        **{"speedup": 1.0, "keep": [1.0] * 4, "short_length": 0.0, "whole_length": 0.0, "predicted": 1.0},
        **{"flops_speedup": 0, "level": None, "width": 1.0, "heads": [1.0] * 4, "neurons": [1.0] * 4, "by_width": 1.0},
        **{"drop": 0.0, "drop_ci": [0.0, 0.0]},
    }
    assert found["reach"] >= found["profiles"][-1]["speedup"] * (1 - 1e-3)


@int8
def test_what_is_calibrated_while_a_search_runs_is_not_lost(root, tmp_path, monkeypatch):
    folder = shutil.copytree(root / "out" / "checkpoint", tmp_path / "checkpoint")
    options = [*common(root, tmp_path, folder), "clock.rounds=2", "calibration.examples=24", "search.trials=0"]
    searched = calibrate._searched

    def meanwhile(*given):
        monkeypatch.undo()
        elsewhere = f"folder={tmp_path / 'meanwhile'}"  # one run at a time writes in a folder
        done("calibrate", *options, elsewhere, "calibration.device_only=true", "device.precision=int8")
        return searched(*given)

    monkeypatch.setattr(calibrate, "_searched", meanwhile)
    done("calibrate", *options, "calibration.every=2")
    found = read_metadata(folder)
    assert set(found.devices[place(CPU)].serving) == {"fp32", "int8"}
    assert found.dial.every == 2


def test_the_device_alone_is_measured_without_any_data(root, tmp_path):
    folder = shutil.copytree(root / "out" / "checkpoint", tmp_path / "checkpoint")
    metadata = read_metadata(folder)
    metadata.task_spec = TaskSpec("classification", ["sentence"], ["bad", "good"], "accuracy", 24, BATCH)
    write_metadata(folder, metadata)
    nowhere = [f"folder={tmp_path}", f"checkpoint={folder}", "task=sst2", f"task.data_dir={tmp_path / 'gone'}"]
    done("calibrate", *nowhere, "device.name=cpu", "device.threads=1", "calibration.device_only=true", "clock.rounds=2")
    found = read_metadata(folder)
    assert found.devices[place(CPU)].serving["fp32"].models[0].lengths == (6, 23)
    assert (found.task_spec, found.dial) == (metadata.task_spec, metadata.dial)


def test_the_device_alone_can_not_be_measured_without_a_dial(root, tmp_path):
    model = toy.write_model(tmp_path / "model")
    message = refused("calibrate", *common(root, tmp_path / "out", model), "calibration.device_only=true")
    assert "has no dial yet: leave calibration.device_only out" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("bf16_ms", "expected"), [(0.5, "bf16"), (2.0, "fp32")])
def test_auto_serves_what_a_layer_is_faster_in_where_it_was_not_calibrated(
    root, tmp_path, monkeypatch, bf16_ms, expected
):
    monkeypatch.setattr("latadj.benchmark.kernel_selection.layer_timing", lambda *_: Timing(1.0, bf16_ms))
    options = [*common(root, tmp_path, root / "out" / "checkpoint"), "device.precision=auto", "measure.examples=4"]
    done("eval", *options)
    assert read(tmp_path / "eval" / "eval.json")["environment"]["precision"] == expected


def test_auto_serves_the_precision_that_calibration_chose(root, tmp_path):
    folder = shutil.copytree(root / "out" / "checkpoint", tmp_path / "checkpoint")
    options = [*common(root, tmp_path, folder), "device.precision=auto"]
    done("calibrate", *options, "calibration.device_only=true", "clock.rounds=2", "calibration.examples=24")
    device = read_metadata(folder).devices[place(CPU)]
    assert list(device.serving) == [device.precision]
    assert device.trials["fp32"]["agreement"] == 1.0
    assert set(device.trials) == {"fp32", "bf16", *(["int8"] if has_int8() else [])}
    assert device.trials[device.precision]["agreement"] >= 0.995
    done("eval", *options, "measure.examples=4")
    found = read(tmp_path / "eval" / "eval.json")
    assert found["environment"]["precision"] == device.precision
    assert found["environment"]["kernel"] == device.serving[device.precision].kernel
    assert (found["target"], found["predicted"]) == ("latency", 1.0)


# The same device as this one, but with a clock of its own: half of a pass goes with the tokens.
LINE = (1.0, 32.0)
CLOCK = LatencyModel(
    batch=BATCH,
    entering=Ramp(2e-3, LINE, (2e-3,)),
    choosing=Ramp(0.0, LINE, (0.0,)),
    leaving=Ramp(0.0, LINE, (8e-3,)),
    last=Ramp(2e-3, LINE, (1e-3,)),
    outside=Ramp(1e-3, LINE, (0.0,)),
)


@pytest.fixture(scope="module")
def marked(root):
    """The checkpoint with a latency model that was written by hand, so that nothing depends on this machine."""
    folder = shutil.copytree(root / "out" / "checkpoint", root / "marked" / "checkpoint")
    serving = {"fp32": Serving("plain", (CLOCK,))}
    if has_int8():
        serving["int8"] = Serving(kernels("int8", CPU)[0], (CLOCK,))
    metadata = read_metadata(folder)
    write_metadata(folder, CheckpointMetadata(metadata.task, metadata.dial, {}, {place(CPU): Device(serving=serving)}))
    reach = metadata.dial.on(CLOCK).reach()
    assert 1.5 < reach < 2.5
    return folder, reach


@pytest.fixture(scope="module")
def sweep(root, marked):
    folder, _ = marked
    options = ["measure.batches=2", "measure.repeats=3", "measure.warmup=1"]
    done("sweep", *common(root, root / "marked", folder), "speedup=[1,1.5,4]", *options)
    return read(root / "marked" / "sweep" / "sweep.json")


def test_sweep_names_asked_predicted_and_measured(sweep):
    assert sweep["target"] == "latency"
    assert sweep["environment"]["kernel"] == "plain"
    assert [row["speedup"] for row in sweep["rows"]] == [1.0, 1.5]
    assert sweep["rows"][0]["predicted"] == 1.0
    assert sweep["rows"][0]["profile"] == [1.0] * 4
    assert sweep["rows"][1]["predicted"] == pytest.approx(1.5, rel=0.02)  # short texts come in whole tokens
    own = [row["measured"][OWN] for row in sweep["rows"]]
    assert own[0] == {"speedup": 1.0, "ci": [1.0, 1.0]}
    assert own[1]["ci"][0] <= own[1]["speedup"] <= own[1]["ci"][1]


def test_sweep_leaves_out_and_names_what_the_device_does_not_reach(sweep, marked, root):
    _, reach = marked
    assert sweep["unreachable"] == [4.0]
    assert sweep["reach"] == pytest.approx(reach)
    said = f"speedup 4 left out: this dial ends at {reach:.2f}x on this device"
    assert said in (root / "marked" / "sweep" / "sweep.log").read_text()


def test_a_sweep_that_the_device_does_not_reach_at_all_is_refused(root, marked, tmp_path):
    folder, reach = marked
    message = refused("sweep", *common(root, tmp_path / "new", folder), "speedup=[3,4]")
    assert f"this dial ends at {reach:.2f}x on this device" in message
    assert not (tmp_path / "new").exists()


def test_eval_refuses_what_the_device_does_not_reach_with_the_largest_there_is(root, marked, tmp_path):
    folder, reach = marked
    message = refused("eval", *common(root, tmp_path / "new", folder), "speedup=4")
    assert f"speedup=4 is out of reach: profile=acc ends at {reach:.2f}x on this device" in message
    assert "ask for less, or take dial.target=flops" in message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "target", "predicted"),
    [
        (["speedup=1.5"], "latency", pytest.approx(1.5, rel=0.02)),
        (["speedup=1.5", "workload.length=20"], "latency", pytest.approx(1.5, rel=0.05)),
        (["speedup=4", "dial.target=flops"], "flops", None),
    ],
)
def test_eval_goes_by_the_clock_or_by_flops(root, marked, tmp_path, options, target, predicted):
    folder, _ = marked
    done("eval", *common(root, tmp_path, folder), *options, "measure.examples=4")
    found = read(tmp_path / "eval" / "eval.json")
    assert (found["target"], found["predicted"]) == (target, predicted)
    assert found["measured_ci"][0] <= found["measured"] <= found["measured_ci"][1]
    assert found["flops_speedup"] >= found["speedup"]


def test_a_device_that_was_not_calibrated_goes_by_flops(root, tmp_path, caplog):
    options = common(root, tmp_path, root / "out" / "checkpoint")
    done("eval", *options, "speedup=3", "measure.examples=4")
    found = read(tmp_path / "eval" / "eval.json")
    assert (found["target"], found["predicted"]) == ("flops", None)
    hint = "`latadj calibrate calibration.device_only=true device.precision=fp32` (same options)"
    assert hint in caplog.text


@int8
def test_a_model_loaded_in_int8_is_an_ordinary_one_with_its_dial_in_time(marked):
    folder, _ = marked
    model, tokenizer = latadj.load(folder, precision="int8", speedup=1.5)
    assert kernel_of(model).precision == "int8"
    assert dial_of(model).latency == CLOCK
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    texts = ["the film is good", "the very long story is awful and bad", "", "film", "fine " * 200]
    cut = classify(texts, truncation=True, batch_size=3)
    with at_speedup(model, 1.0):
        full = classify(texts, truncation=True, batch_size=3)
    assert len(cut) == len(texts)
    assert cut != full
    exact, _ = latadj.load(folder, precision="fp32")
    reference = pipeline("text-classification", model=exact, tokenizer=tokenizer, device="cpu")(texts, truncation=True)
    assert [one["score"] for one in full] == pytest.approx([one["score"] for one in reference], abs=0.05)


@int8
def test_int8_at_two_speedups_without_a_calibrated_device(root):
    model, tokenizer = latadj.load(root / "out" / "checkpoint", precision="int8", speedup=2)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    assert {answer["label"] for answer in classify(["the film is good", "a poor story"])} <= {"LABEL_0", "LABEL_1"}
    assert dial_of(model).target == "flops"
    with pytest.raises(ValueError, match="beyond this dial, which goes to 5"):
        latadj.load(root / "out" / "checkpoint", precision="int8", speedup=7)


def test_an_unknown_precision_is_refused_with_what_is_possible(root):
    with pytest.raises(ValueError, match="precision=fp8: expected one of fp32, bf16, int8, auto"):
        latadj.load(root / "out" / "checkpoint", precision="fp8")


@pytest.fixture
def pinned():
    before = affinity()
    if before is None:
        pytest.skip("affinity is Linux's")
    yield before
    pin(before)


def test_a_command_runs_on_the_cpus_it_is_given(root, marked, tmp_path, pinned):
    folder, _ = marked
    options = [*common(root, tmp_path, folder), "measure.examples=4"]
    done("eval", *options, f"device.cpus=[{pinned[0]}]")
    found = read(tmp_path / "eval" / "eval.json")["environment"]
    assert (found["affinity"], found["threads"]) == ([pinned[0]], 1)


def test_cpus_that_are_not_there_are_refused(root, marked, tmp_path, pinned):
    folder, _ = marked
    message = refused("eval", *common(root, tmp_path / "new", folder), "device.cpus=[100000]")
    assert "device.cpus=[100000]: expected some of [" in message
    assert affinity() == pinned
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("command", "option", "message"),
    [
        ("calibrate", "clock.rounds=1", "clock.rounds=1: expected at least 2"),
        ("calibrate", "workload.batch=0", "workload.batch=0: expected at least 1"),
        ("calibrate", "calibration.every=0", "calibration.every=0: expected at least 1"),
        ("calibrate", "calibration.max_flops=0.5", "calibration.max_flops=0.5: expected at least 1"),
        ("eval", "dial.target=joules", "dial.target=joules: expected one of latency, flops"),
        ("eval", "workload.length=0", "workload.length=0: expected at least 1"),
        ("sweep", "device.precision=fp8", "device.precision=fp8: expected one of fp32, bf16, int8, auto"),
    ],
)
def test_bad_options_are_refused(root, tmp_path, command, option, message):
    assert message in refused(command, *common(root, tmp_path / "new", root / "out" / "checkpoint"), option)
    assert not (tmp_path / "new").exists()
