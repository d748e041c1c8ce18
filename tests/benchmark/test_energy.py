import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from latadj.benchmark import energy
from latadj.benchmark.energy import joules

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


class Gpus:
    def __init__(self, counters):
        self.counters = counters

    def supports_get_total_energy_consumption(self, index):
        return self.counters[index]


@pytest.fixture
def zeus(monkeypatch, tmp_path):
    """A stand-in for Zeus: two zones of RAPL and two GPUs, whose counters rise with the work."""
    machine = SimpleNamespace(meter={}, packages=["package-0", "psys"], gpus=Gpus([True, True]))

    class Monitor:
        def __init__(self, gpu_indices=None, cpu_indices=None):
            self.gpu_indices = gpu_indices
            self.cpu_indices = list(range(len(machine.packages))) if cpu_indices is None else cpu_indices

        def begin_window(self, name):
            self.start = dict(machine.meter)

        def end_window(self, name):
            spent = {key: value - self.start.get(key, 0) for key, value in machine.meter.items()}
            cpus = {index: spent.get(f"cpu{index}", 0.0) for index in self.cpu_indices}
            memory = {0: spent["memory"]} if self.cpu_indices and "memory" in spent else None
            return SimpleNamespace(
                gpu_energy={index: spent.get(f"gpu{index}", 0.0) for index in self.gpu_indices},
                cpu_energy=cpus or None,
                dram_energy=memory,
            )

    class NoGpuError(Exception):
        pass

    def get_gpus():
        if machine.gpus is None:
            raise NoGpuError
        return machine.gpus

    contents = {
        "zeus": {},
        "zeus.device": {"get_gpus": get_gpus},
        "zeus.device.exception": {"ZeusBaseGPUError": NoGpuError},
        "zeus.monitor": {"ZeusMonitor": Monitor},
    }
    for name, attributes in contents.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    for index, name in enumerate(machine.packages):
        (tmp_path / f"intel-rapl:{index}").mkdir()
        (tmp_path / f"intel-rapl:{index}" / "name").write_text(name + "\n")
    monkeypatch.setattr(energy, "ZONES", tmp_path)
    return machine


def spends(machine, **joules_a_run):
    def work():
        for key, value in joules_a_run.items():
            machine.meter[key] = machine.meter.get(key, 0.0) + value

    return work


def test_a_cpu_counts_packages_and_memory_once(zeus):
    assert joules(spends(zeus, cpu0=3.0, memory=0.5, cpu1=9.0, gpu1=7.0), 4, CPU) == 3.5  # psys holds both again


def test_a_gpu_counts_alone(zeus):
    assert joules(spends(zeus, cpu0=3.0, gpu0=2.0, gpu1=7.0), 4, GPU) == 7.0


def test_the_first_run_does_not_count(zeus):
    runs = []

    def work():
        runs.append(1)
        zeus.meter["cpu0"] = 100.0 if len(runs) == 1 else 100.0 + len(runs) - 1

    assert joules(work, 5, CPU) == 1.0
    assert len(runs) == 6


def test_without_a_counter_there_is_no_figure(zeus):
    zeus.packages = []
    assert joules(print, 1, CPU) is None
    zeus.gpus = Gpus([True, False])  # Zeus would sum up samples of the power
    assert joules(print, 1, GPU) is None
    zeus.gpus = None
    assert joules(print, 1, GPU) is None
    assert joules(print, 1, torch.device("mps")) is None


def test_a_counter_that_stands_still_is_no_figure(zeus):
    assert joules(lambda: None, 3, CPU) is None


def test_helper_processes_come_to_rest_before_anything_counts(monkeypatch):
    used = iter([0.0, 0.4, 1.9, 2.0, 2.0, 3.0])
    process = SimpleNamespace(cpu_times=lambda: (next(used), 0.0, 0.0, 0.0))
    monkeypatch.setattr(energy.psutil, "Process", lambda pid: process)
    monkeypatch.setattr(energy.multiprocessing, "active_children", lambda: [SimpleNamespace(pid=1)])
    energy._wait_for_helpers(step_s=0.001)
    assert list(used) == [3.0]


def test_without_the_library_there_is_no_figure(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "zeus.device", None)
    with caplog.at_level("INFO"):
        assert joules(print, 1, CPU) is None
    assert "latadj[energy]" in caplog.text


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="repeats=0: expected at least 1"):
        joules(print, 0, CPU)
