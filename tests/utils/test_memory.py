"""Memory that a process holds on to."""

from latadj.utils import memory


def test_memory_is_handed_back_once_a_second_at_most(monkeypatch):
    times, trimmed = iter([10.0, 10.4, 10.9, 11.0, 11.5]), []
    monkeypatch.setattr(memory.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(memory, "trim", lambda: trimmed.append(True))
    monkeypatch.setattr(memory, "_trimmed", 0.0)
    counts = []
    for _ in range(5):
        memory.trim_now_and_then()
        counts.append(len(trimmed))
    assert counts == [1, 1, 1, 2, 2]
