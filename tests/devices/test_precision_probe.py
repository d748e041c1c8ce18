import json
from types import SimpleNamespace

import pytest
import torch

from latadj.config import DeviceConfig
from latadj.devices import measured_times
from latadj.devices.device import place
from latadj.devices.measured_times import Timing, cache_file
from latadj.devices.precision_probe import attention_product, training_step, trains_in_bf16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def measured(monkeypatch, tmp_path):
    """How often something was measured, with an empty cache."""
    count = []

    def timed(variants, device):
        count.append(device)
        return {"fp32": 10.0, "bf16": 5.0}, True

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measured_times, "_known", {})
    monkeypatch.setattr(measured_times, "_timed", timed)
    return count


def as_a_new_process():
    measured_times._known.clear()


def test_a_device_is_measured_once_and_remembered(measured):
    assert training_step(CPU) == training_step(CPU) == Timing(10.0, 5.0)
    as_a_new_process()
    assert training_step(CPU) == Timing(10.0, 5.0)
    assert len(measured) == 1
    attention_product(CPU)
    as_a_new_process()
    training_step(CPU)
    assert len(measured) == 2
    assert set(json.loads(cache_file().read_text())["milliseconds"]) == {
        "a training step of a layer",
        "a layer's attention",
    }


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"milliseconds": 3}',
        '{"milliseconds": {"a training step of a layer": {"x": 3}}}',
        '{"milliseconds": {"a training step of a layer": {"HERE": {"fp32": 3.0}}}}',
    ],
)
def test_a_damaged_cache_is_measured_again(measured, content):
    cache_file().parent.mkdir()
    cache_file().write_text(content.replace("HERE", place(CPU)))
    training_step(CPU)
    as_a_new_process()
    training_step(CPU)
    assert len(measured) == 1


def test_a_cache_that_cannot_be_written_stops_nothing(measured):
    cache_file().parent.write_text("a file where the folder would be")
    assert training_step(CPU) == Timing(10.0, 5.0)


@pytest.mark.parametrize(("bf16_ms", "expected"), [(5.0, True), (9.5, False), (20.0, False)])
def test_auto_trains_in_bf16_where_a_step_is_clearly_faster(monkeypatch, bf16_ms, expected):
    monkeypatch.setattr(measured_times, "_timed", lambda variants, device: ({"fp32": 10.0, "bf16": bf16_ms}, True))
    assert trains_in_bf16(DeviceConfig(), CPU) is expected
    assert trains_in_bf16(DeviceConfig(train_precision="bf16"), CPU)
    assert not trains_in_bf16(DeviceConfig(train_precision="fp32"), CPU)


def test_what_is_measured_runs(monkeypatch, measured):
    ran = []

    def timed(variants, device):
        for name, run in variants.items():
            run()
            ran.append(name)
        return dict.fromkeys(variants, 1.0), True

    monkeypatch.setattr(measured_times, "_timed", timed)
    training_step(CPU)
    attention_product(CPU)
    assert ran == ["fp32", "bf16"] * 2


def test_what_a_busy_machine_measured_is_not_remembered(monkeypatch, measured, caplog):
    monkeypatch.setattr(measured_times, "_timed", lambda variants, device: ({"fp32": 10.0, "bf16": 5.0}, False))
    training_step(CPU)
    assert "busy machine, so not remembered" in caplog.text
    assert not cache_file().exists()


@pytest.mark.parametrize(("delays", "settled"), [([3, 1, 1, 1, 1, 1], True), ([9, 8, 7, 6, 5, 4], False)])
def test_times_settle_once_the_least_is_seen_twice(monkeypatch, measured, delays, settled):
    now, pending = [0.0], iter(delays)
    monkeypatch.undo()
    monkeypatch.setattr(measured_times, "MOST_ROUNDS", 5)
    monkeypatch.setattr(measured_times, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def run():
        now[0] += next(pending)

    times, found = measured_times._timed({"fp32": run}, CPU)
    assert found is settled
    assert times["fp32"] == pytest.approx(1000.0 * min(delays[1:]))
