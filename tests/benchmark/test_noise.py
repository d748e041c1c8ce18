import logging
from collections import namedtuple

import numpy as np
import pytest

from latadj.benchmark import noise as quiet
from latadj.benchmark.noise import NoiseMonitor, noise_report, spread_of

Cpu = namedtuple("Cpu", "user nice system idle iowait irq softirq steal")
IDLE = Cpu(0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def machine(monkeypatch):
    """Measures on a machine of four cores, of which we may use two, for ten seconds."""

    def measure(*cores, ours, seconds=10.0, samples=None):
        readings = iter([([IDLE] * 4, 0.0, 100.0), (cores, ours, 100.0 + seconds)])
        state = {}

        def cpu_times(percpu):
            state["now"] = next(readings)
            return state["now"][0]

        monkeypatch.setattr(quiet, "affinity", lambda: [1, 2])
        monkeypatch.setattr(quiet.psutil, "cpu_count", lambda: 4)
        monkeypatch.setattr(quiet.psutil, "cpu_times", cpu_times)
        monkeypatch.setattr(quiet, "_our_seconds", lambda: state["now"][1])
        monkeypatch.setattr("time.perf_counter", lambda: state["now"][2])
        with NoiseMonitor() as watch:
            pass
        return watch.report(samples)

    return measure


FULL = IDLE._replace(user=10)
HALF = IDLE._replace(user=4, system=1, iowait=5)


def test_our_own_work_is_quiet(machine):
    found = machine(IDLE, FULL, HALF, IDLE, ours=15.0)
    assert (found.busy_elsewhere, found.steal, found.noisy, found.warning) == (0, 0, False, None)


def test_others_on_our_cores_are_named_with_their_share(machine, caplog):
    with caplog.at_level(logging.WARNING):
        found = machine(IDLE, FULL, HALF, IDLE, ours=7.6)
    assert found.busy_elsewhere == pytest.approx(0.37)
    assert found.noisy
    expected = "other processes used 37% of the cores while this was measured: run it again on a quiet machine"
    assert found.warning == expected
    assert caplog.messages == [expected]


def test_others_on_cores_that_are_closed_to_us_do_not_count(machine):
    assert not machine(FULL, FULL, IDLE, FULL, ours=10.0).noisy


def test_time_that_the_hypervisor_takes_is_noise(machine):
    found = machine(IDLE, FULL, IDLE._replace(steal=2), IDLE, ours=10.0)
    assert (found.steal, found.busy_elsewhere) == (0.1, 0)
    assert "the hypervisor took 10% of the cores" in found.warning


def test_a_moment_is_too_short_for_the_kernels_ticks(machine):
    found = machine(IDLE, IDLE._replace(user=0.1), IDLE, IDLE, ours=0.0, seconds=0.1)
    assert found.busy_elsewhere == pytest.approx(0.5)
    assert not found.noisy


def test_rounds_that_lie_apart_are_noise(machine):
    found = machine(IDLE, FULL, IDLE, IDLE, ours=10.0, samples={"a": [[1.0], [2.0], [3.0]]})
    assert found.spread == 0.5
    assert "rounds of the same work lay 50% apart" in found.warning


def test_spread_is_that_of_the_middle_contestant_over_whole_rounds():
    steady = [[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]]
    restless = np.array([[1.0], [2.0], [3.0]])
    assert spread_of({"a": steady, "b": restless, "c": steady}) == 0
    assert spread_of({"b": restless}) == 0.5
    assert spread_of({"a": steady[:2]}) is None
    assert spread_of({}) is None


def test_several_reasons_make_one_line():
    found = noise_report(busy_elsewhere=0.2, steal=0.05, spread=0.3)
    assert found.warning.count(" and ") == 2
    assert "\n" not in found.warning


def test_there_is_no_report_before_the_end():
    with NoiseMonitor() as watch, pytest.raises(RuntimeError, match="after its `with`"):
        watch.report()


def test_a_real_machine_gives_shares():
    with NoiseMonitor() as watch:
        sum(range(100_000))
    found = watch.report()
    assert 0 <= found.busy_elsewhere <= 1
    assert 0 <= found.steal <= 1
