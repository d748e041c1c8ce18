import threading
import time

import pytest

from latadj.benchmark.noise import NoiseMonitor
from latadj.devices.slots import current, shares, slot


@pytest.mark.parametrize(
    ("given", "expected"),
    [((4, 2, None), (2, 2)), ((5, 2, None), (2, 2)), ((8, None, 2), (4, 2)), ((1, None, 1), (1, 1))],
)
def test_cpus_are_split_evenly(given, expected):
    assert shares(*given) == expected


@pytest.mark.parametrize("given", [(1, 2, None), (2, None, 3), (4, 3, 2)])
def test_more_than_there_is_is_refused(given):
    with pytest.raises(ValueError, match=r"^\d jobs at once of \d CPUs each: there are \d CPUs here"):
        shares(*given)


def test_jobs_that_run_at_once_share_no_cpu_and_know_of_each_other(tmp_path):
    with slot(tmp_path, [0, 1, 2, 7], 2, None) as first:
        assert (first.cpus, first.busy()) == ([0, 1], set())
        with slot(tmp_path, [0, 1, 2, 7], 2, None) as second:
            assert second.cpus == [2, 7]
            assert (first.busy(), second.busy()) == ({1}, {0})
        assert first.busy() == set()
    assert current() is None


def test_a_job_waits_for_a_slot(tmp_path):
    order = []

    def later():
        with slot(tmp_path, [0], 1, None) as own:
            order.append(own.number)

    waiting = threading.Thread(target=later)
    with slot(tmp_path, [0], 1, None):
        waiting.start()
        time.sleep(0.3)
        order.append("first")
    waiting.join(20)
    assert order == ["first", 0]


def test_a_clock_says_how_many_jobs_ran_beside_it(tmp_path):
    with slot(tmp_path, [0, 1, 2], 3, None), NoiseMonitor() as monitor, slot(tmp_path, [0, 1, 2], 3, None):
        pass
    report = monitor.report()
    assert report.beside == 1
    assert "1 other job of this multirun ran on this machine" in str(report.warning)
    with slot(tmp_path, [0, 1, 2], 3, None), NoiseMonitor() as monitor:
        pass
    assert monitor.report().beside == 0
