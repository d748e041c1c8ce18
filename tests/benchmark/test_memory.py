from multiprocessing.util import Finalize

import numpy as np
import pytest
import torch

from latadj.benchmark import memory
from latadj.benchmark.memory import in_own_process, peak_memory, release, resident

CPU = torch.device("cpu")
BYTES = 64 * 2**20


def allocate():
    return np.ones(BYTES, dtype=np.uint8).sum()


@pytest.mark.skipif(not memory._reset_peak(), reason="this kernel has no peak to reset")
def test_the_peak_holds_what_was_freed_since_and_starts_anew_each_time():
    idle = peak_memory(lambda: None, CPU)
    assert peak_memory(allocate, CPU) > idle + BYTES * 0.9
    assert peak_memory(lambda: None, CPU) < idle + BYTES * 0.5


@pytest.mark.parametrize("device", [CPU, torch.device("mps")])
def test_there_is_no_peak_where_the_system_keeps_none(monkeypatch, tmp_path, device):
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / "missing" / "file")
    ran = []
    assert peak_memory(lambda: ran.append(1), device) is None
    assert not ran


def test_on_cuda_it_is_what_pytorch_allocated_meanwhile(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000 + device.index)
    assert peak_memory(lambda: calls.append("work"), torch.device("cuda", 1)) == 1001
    assert calls == ["wait", "reset", "work", "wait"]


def test_resident_size_is_in_bytes_and_release_leaves_the_process_whole():
    kept = allocate()
    release()
    assert resident() > 2**20
    assert kept == BYTES


def leave_note(path):
    Finalize(None, path.write_text, args=("ended",), exitpriority=0)
    return path.name


def test_a_process_of_its_own_ends_by_itself(tmp_path):
    note = tmp_path / "note"
    assert in_own_process(leave_note, note) == "note"
    assert note.read_text() == "ended"
