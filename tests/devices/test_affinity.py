import os
import sys
import threading
from pathlib import Path

import pytest

from latadj.devices.affinity import affinity, pin

linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")


@pytest.fixture
def restored():
    before = affinity()
    yield before
    pin(before)


@linux
def test_pinning_reaches_threads_that_run_already_and_can_be_widened_again(restored):
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        pin(restored[-1:])
        assert affinity() == restored[-1:]
        for task in Path("/proc/self/task").iterdir():
            assert os.sched_getaffinity(int(task.name)) == {restored[-1]}
    finally:
        done.set()
        thread.join()
    pin(restored)
    assert affinity() == restored


@linux
@pytest.mark.parametrize("wrong", [[], [-1], [0, 100_000]])
def test_cpus_that_are_not_there_are_refused_and_nothing_changes(restored, wrong):
    with pytest.raises(ValueError, match=r"^device\.cpus=\[.*\]: expected some of \[.*\], or null for all of them$"):
        pin(wrong)
    assert affinity() == restored


def test_a_system_that_cannot_pin_says_so(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert affinity() is None
    with pytest.raises(ValueError, match="darwin cannot keep a process on some CPUs; leave it null"):
        pin([0])
