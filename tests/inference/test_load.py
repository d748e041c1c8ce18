"""`latadj.load` serves a folder as the commands do, or gives it back to be trained."""

import logging

import pytest
import torch
from helpers import toy_project as toy
from helpers.measured_drops import with_drops
from helpers.tiny_models import near

import latadj
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, Device, Serving, TaskSpec, read_metadata, write_metadata
from latadj.config import DeviceConfig
from latadj.devices.device import place
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach, dial_of
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.inference.serving import make_ready
from latadj.kernels.lowering import is_lowered, kernel_of

HERE = place(torch.device("cpu"))
LINE, NONE = Ramp(0.0, (1.0, 64.0), (1.0,)), Ramp(0.0, (1.0, 64.0), (0.0,))
CLOCK = LatencyModel(8, LINE, NONE, LINE, NONE, NONE, lengths=(10, 20))
# At one text a batch, calls take most of the time.
SLOW = LatencyModel(1, LINE, NONE, LINE, NONE, Ramp(20.0, (1.0, 64.0), (0.0,)), lengths=(10, 20))
IDS = torch.tensor([[2, 5, 11, 12, 13, 14, 15, 16, 17, 18, 3]])


@pytest.fixture
def folder(tmp_path):
    """A folder that was calibrated here at the batch size of its task."""
    model, tokenizer = checkpoint.load(toy.write_model(tmp_path / "model"))
    dial = Dial((0.8,) * 4, (10, 20), layer_shapes(model), profile_type="geometric")
    spec = TaskSpec("classification", ["text"], ["no", "yes"], "accuracy", 64, 8)
    metadata = CheckpointMetadata("toy", dial, task_spec=spec)
    metadata.devices = {HERE: Device(serving={"fp32": Serving("plain", (CLOCK,))})}
    checkpoint.save(model, tokenizer, tmp_path / "saved", metadata)
    return tmp_path / "saved"


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


def test_a_speedup_is_what_it_is_in_the_commands(folder):
    model, _ = latadj.load(folder, speedup=3)
    served, metadata = checkpoint.load(folder)[0], read_metadata(folder)
    make_ready(served, metadata, metadata.dial, served.device, precision=DeviceConfig().precision, batch=8)
    assert dial_of(model) == dial_of(served)
    assert dial_of(model).latency == CLOCK
    assert kernel_of(model) == kernel_of(served)
    with latadj.at_speedup(served, 3):
        assert torch.equal(logits(model), logits(served))


def test_a_device_that_was_not_calibrated_goes_by_flops_and_says_so(folder, caplog):
    metadata = read_metadata(folder)
    metadata.devices = {}
    write_metadata(folder, metadata)
    assert dial_of(latadj.load(folder, speedup=3)[0]).target == "flops"
    assert "the dial is marked in FLOPs: this device" in caplog.text


def test_another_clock_leaves_a_service_as_it_is(folder):
    metadata = read_metadata(folder)
    metadata.devices[HERE].serving["fp32"] = Serving("plain", (SLOW, CLOCK))
    write_metadata(folder, metadata)
    assert dial_of(latadj.load(folder, speedup=3)[0]).latency == CLOCK
    assert dial_of(latadj.load(folder, batch=4)[0]).latency.batch == 4
    with pytest.raises(ValueError, match=r"checkpoint .*: speedup=3 is out of reach: .* on this device at batch 1"):
        latadj.load(folder, speedup=3, batch=1)


def test_batch_and_length_name_the_workload(folder, caplog):
    dial = dial_of(latadj.load(folder, batch=16, length=15)[0])
    assert (dial.lengths, dial.latency) == ((15,), CLOCK)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    for name in ("batch", "length"):
        with pytest.raises(ValueError, match=f"{name}=0: expected a number >= 1"):
            latadj.load(folder, **{name: 0})


def test_without_a_precision_it_is_to_be_trained(folder, tmp_path):
    model, tokenizer = latadj.load(folder, precision=None, speedup=2)
    assert not is_lowered(model)
    assert dial_of(model).target == "flops"
    model.train()(input_ids=IDS, labels=torch.tensor([1])).loss.backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)
    model.eval().save_pretrained(tmp_path / "again")
    tokenizer.save_pretrained(tmp_path / "again")
    assert near([logits(attach(latadj.load(tmp_path / "again")[0]))], [logits(attach(model))])


@pytest.mark.parametrize("confident", [False, True])
def test_a_drop_chooses_the_speedup_in_the_time_of_this_device(folder, confident):
    metadata = read_metadata(folder)
    metadata.dial = with_drops(metadata.dial)
    write_metadata(folder, metadata)
    model, _ = latadj.load(folder, max_drop=1.0, confident=confident)
    dial = dial_of(model)
    assert dial.latency == CLOCK
    assert latadj.profile_of(model) == dial.profile(dial.within(1.0, confident))
    assert (dial.within(1.0, True) < dial.within(1.0)) and latadj.profile_of(model).eliminates


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": 1.0}, r"checkpoint .*: max_drop=1: .* was not measured: run `latadj calibrate`"),
        ({"max_drop": 1.0, "speedup": 2}, "speedup=2 with max_drop=1: give one of them"),
        ({"confident": True}, "confident=True says how max_drop is judged: give max_drop too"),
    ],
)
def test_a_drop_that_cannot_choose_a_speedup_is_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        latadj.load(folder, **options)


def test_a_drop_needs_a_dial(tmp_path):
    with pytest.raises(ValueError, match="has no dial: make one with"):
        latadj.load(toy.write_model(tmp_path / "model"), max_drop=1.0)
