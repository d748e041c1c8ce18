import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_bert

from latadj.checkpoints.metadata import CheckpointMetadata, Device, Serving, TaskSpec, read_metadata, write_metadata
from latadj.config import DeviceConfig, TaskConfig
from latadj.devices import device
from latadj.devices.device import place
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach, dial_of
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.inference import serving
from latadj.inference.device_dial import dial_for, remember
from latadj.inference.serving import kernel_for, make_ready
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import kernel_of
from latadj.utils.files import write_json

CPU = torch.device("cpu")
HERE = place(CPU)


def latency(batch=8, **options):
    line, none = Ramp(0.0, (1.0, 64.0), (1.0,)), Ramp(0.0, (1.0, 64.0), (0.0,))
    return replace(LatencyModel(batch, line, none, line, none, none), **options)


def served(kernel="plain", *batches):
    return Serving(kernel, tuple(latency(batch) for batch in batches or (8,)))


def sidecar(**options):
    return CheckpointMetadata("sst2", None, {}, {HERE: Device(**options)})


def scaled(ramp, factor):
    return Ramp(ramp.base, ramp.knots, tuple(factor * rise for rise in ramp.rises))


@pytest.fixture
def model():
    return attach(tiny_bert())


def dial(model):
    return Dial(layer_acc=(0.8,) * 4, lengths=(10, 20), shapes=layer_shapes(model))


def test_a_sidecar_survives_its_file(model, tmp_path):
    trials = {"fp32": {"agreement": 1.0, "ms": 3.5}}
    found = sidecar(precision="int8", trials=trials, serving={"int8": served("x86", 1, 32)})
    found.dial = dial(model).on(latency())
    write_metadata(tmp_path, found)
    assert read_metadata(tmp_path) == replace(found, dial=dial(model))


@pytest.mark.parametrize(
    "damage",
    [
        {"precision": "int8"},
        {"precision": None, "trials": {}, "serving": {"fp32": {"kernel": "plain"}}},
        {"precision": None, "trials": {}, "serving": {"fp32": {"kernel": "plain", "models": [{"batch": 1}]}}},
        {"precision": None, "trials": {}, "serving": ["fp32"]},
        ["fp32"],
        None,
    ],
)
def test_a_damaged_device_is_refused_with_what_to_do(tmp_path, damage):
    write_metadata(tmp_path, CheckpointMetadata("sst2"))
    data = json.loads((tmp_path / "latadj.json").read_text())
    for devices in ({HERE: damage}, [damage, damage]):
        (tmp_path / "latadj.json").write_text(json.dumps({**data, "devices": devices}))
        with pytest.raises(ValueError, match=r"latadj\.json: .*; make it anew with `latadj calibrate`"):
            read_metadata(tmp_path)


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (8, 8), (500, 32), (None, 1)])
def test_the_model_of_the_nearest_batch_is_taken_beyond_those_that_were_measured(asked, given):
    assert served("plain", 1, 8, 32).model(asked, [10]) == latency(given)


@pytest.mark.parametrize(("batch", "seconds"), [(8, 2.0), (14, 3.5), (20, 5.0), (32, 8.0)])
def test_between_two_batches_the_model_is_interpolated(batch, seconds):
    slope = Ramp(0.0, (1.0, 128.0), (254.0,))
    known = Serving("plain", (latency(32, entering=scaled(slope, 4)), latency(1), latency(8, entering=slope)))
    found = known.model(batch, [10])
    assert found.batch == batch
    assert found.entering(np.array([2.0])) == pytest.approx(seconds)
    assert found.entering(np.array([300.0])) == pytest.approx(299 * seconds)


def test_clocks_of_other_lengths_or_of_another_structure_are_not_mixed():
    short, longer = latency(8, lengths=(10, 20)), latency(32, lengths=(512, 512))
    assert Serving("plain", (short, longer)).model(16, [15]) == short
    pruned = latency(32, scales=((0.5, 1.0),) * 4)
    assert Serving("plain", (latency(8), pruned)).model(14, [15]) == latency(8)


def test_without_a_measurement_there_is_no_model():
    assert Serving("plain").model(8, [10]) is None


def test_remembering_adds_to_what_is_known_of_a_device():
    before = sidecar(precision="fp32", trials={"fp32": {"ms": 1.0}}, serving={"fp32": served()})
    before.devices["another"] = Device("bf16")
    found = remember(before, CPU, Device(serving={"int8": served("x86")}))
    assert found.devices["another"] == Device("bf16")
    here = found.devices[HERE]
    assert (here.precision, here.trials) == ("fp32", {"fp32": {"ms": 1.0}})
    assert here.serving == {"fp32": served(), "int8": served("x86")}
    again = remember(found, CPU, Device("int8", {"int8": {"ms": 0.5}}))
    assert (again.devices[HERE].precision, again.devices[HERE].trials) == ("int8", {"int8": {"ms": 0.5}})
    assert again.devices[HERE].serving == here.serving


def test_another_batch_is_remembered_beside_the_first_and_the_same_one_replaced():
    found = sidecar(serving={"fp32": served("plain", 1, 8)})
    newer = latency(8, error=0.01)
    found = remember(found, CPU, Device(serving={"fp32": Serving("plain", (newer,))}))
    assert found.devices[HERE].serving["fp32"] == Serving("plain", (newer, latency(1)))


def test_what_was_measured_for_other_lengths_is_remembered_too_and_each_serves_its_own(model, caplog):
    general, longer, again = (latency(8, lengths=span, error=0.01) for span in ((10, 20), (512, 512), (9, 21)))
    found = sidecar(serving={"fp32": Serving("plain", (latency(8), latency(2)))})
    for measured in (general, longer):
        found = remember(found, CPU, Device(serving={"fp32": Serving("plain", (measured,))}))
    assert found.devices[HERE].serving["fp32"].models == (longer, general, latency(2))

    def taken(lengths):
        return dial_for(dial(model), found, KernelSpec("fp32", "plain"), CPU, 8, lengths).latency

    assert taken(None) == taken([12, 18]) == general
    assert taken([512]) == longer
    assert not caplog.text
    assert taken([200]) == longer
    assert "on texts of 512 to 512 tokens, for those of 200 to 200 it may be off" in caplog.text
    assert "calibrate with workload.length=200" in caplog.text
    found = remember(found, CPU, Device(serving={"fp32": Serving("plain", (again,))}))
    assert found.devices[HERE].serving["fp32"].models == (again, longer, latency(2))


def test_what_another_kernel_took_is_forgotten():
    found = remember(sidecar(serving={"fp32": served("plain", 1)}), CPU, Device(serving={"fp32": served("onednn", 8)}))
    assert found.devices[HERE].serving["fp32"] == served("onednn", 8)


def test_a_remembered_kernel_is_taken_without_measuring(monkeypatch, model):
    monkeypatch.setattr(serving, "remembered_kernel", None)
    known = sidecar(precision="bf16", serving={"fp32": served("plain"), "bf16": served("plain")})
    assert kernel_for(model, known, "fp32", CPU) == KernelSpec("fp32", "plain")
    assert kernel_for(model, known, "auto", CPU) == KernelSpec("bf16", "plain")


@pytest.mark.parametrize("known", [CheckpointMetadata(), sidecar(serving={"fp32": served("gone")})])
def test_a_kernel_that_is_not_known_or_not_there_is_measured(monkeypatch, model, known):
    monkeypatch.setattr(serving, "remembered_kernel", lambda model, precision, device: KernelSpec(precision, "plain"))
    assert kernel_for(model, known, "fp32", CPU) == KernelSpec("fp32", "plain")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("known", [CheckpointMetadata(), sidecar(serving={"int8": served()})])
def test_auto_that_was_not_calibrated_goes_by_the_time_of_a_layer(monkeypatch, model, known, precision):
    monkeypatch.setattr(serving, "serving_precision", lambda model, device: precision)
    monkeypatch.setattr(serving, "remembered_kernel", lambda model, precision, device: KernelSpec(precision, "plain"))
    assert kernel_for(model, known, "auto", CPU) == KernelSpec(precision, "plain")


def test_the_dial_is_marked_for_the_workload(model):
    known = sidecar(serving={"fp32": served("plain", 1, 32)})
    spec = KernelSpec("fp32", "plain")
    assert dial_for(dial(model), known, spec, CPU, None, None) == dial(model).on(latency(1))
    assert dial_for(dial(model), known, spec, CPU, 30, [12]).latency.batch == 30
    assert dial_for(dial(model), known, spec, CPU, 40, [12]) == dial(model).on(latency(32), (12,))
    assert dial_for(dial(model), known, KernelSpec("fp32", "onednn"), CPU, None, None) is None
    assert dial_for(dial(model), known, KernelSpec("int8", "x86"), CPU, None, None) is None


@pytest.mark.parametrize(("batch", "warns"), [(16, False), (64, False), (15, True), (65, True)])
def test_a_batch_far_from_the_measured_one_is_warned_of(model, caplog, batch, warns):
    dial_for(dial(model), sidecar(serving={"fp32": served("plain", 32)}), KernelSpec("fp32", "plain"), CPU, batch, None)
    assert ("calibrated at batch 32, for batch" in caplog.text) == warns


@pytest.mark.parametrize(
    ("known", "target", "marked", "warns"),
    [
        (sidecar(serving={"fp32": served()}), "latency", "latency", False),
        (sidecar(serving={"fp32": served()}), "flops", "flops", False),
        (sidecar(serving={"int8": served("x86")}), "latency", "flops", True),
        (CheckpointMetadata(), "flops", "flops", False),
    ],
)
def test_a_model_made_ready_is_lowered_and_its_dial_marked(monkeypatch, caplog, model, known, target, marked, warns):
    monkeypatch.setattr(serving, "remembered_kernel", lambda model, precision, device: KernelSpec(precision, "plain"))
    spec = make_ready(model, known, dial(model), CPU, precision="fp32", target=target)
    assert spec == kernel_of(model) == KernelSpec("fp32", "plain")
    assert dial_of(model).target == marked
    assert ("the dial is marked in FLOPs: this device" in caplog.text) == warns


def test_a_device_is_named_by_all_that_its_speed_depends_on():
    assert place(CPU).endswith(f", cpu, {torch.get_num_threads()} threads, torch {torch.__version__}")
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert place(CPU) != HERE
    finally:
        torch.set_num_threads(before)
    assert place(CPU) == HERE


def test_threads_follow_the_cpus_unless_they_are_named():
    assert device.choose(DeviceConfig(name="cpu", cpus=[0, 1])) == CPU
    assert torch.get_num_threads() == 2
    device.choose(DeviceConfig(name="cpu", cpus=[0, 1], threads=1))
    assert torch.get_num_threads() == 1


def test_memory_is_kept_where_the_allocator_can_be_told(monkeypatch):
    told = []

    class Library:
        def mallopt(self, number, value):
            told.append(number)
            return 1

    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(device.sys, "platform", "linux")
    assert device.keep_freed_memory()
    assert told == [-3, -1]
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: object())
    assert not device.keep_freed_memory()
    monkeypatch.setattr(device.sys, "platform", "darwin")
    assert not device.keep_freed_memory()


@pytest.mark.parametrize("said", [None, "64"])
def test_kernels_are_kept_unless_the_environment_says_how_many(monkeypatch, said):
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    if said:
        monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", said)
    device.keep_kernels()
    assert int(device.os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == (int(said) if said else 16384)


def test_what_a_model_is_for_is_read_back(tmp_path):
    task = TaskConfig(name="toy", text=["first", "second"], labels=["no", "yes"], max_length=77, batch_size=5)
    write_metadata(tmp_path, CheckpointMetadata.of(task))
    found = read_metadata(tmp_path)
    assert (found.task, found.task_spec) == (
        "toy",
        TaskSpec("classification", *(["first", "second"], ["no", "yes"]), "accuracy", 77, 5),
    )


def test_a_purpose_of_other_fields_is_refused(tmp_path):
    write_json(tmp_path / "latadj.json", {**CheckpointMetadata().to_json(), "task_spec": {"type": "classification"}})
    with pytest.raises(ValueError, match=r"task_spec\..*missing; make it anew"):
        read_metadata(tmp_path)
