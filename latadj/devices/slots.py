"""CPUs for each of several jobs that run on this machine at the same time, and who ran beside whom."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from latadj.devices.affinity import affinity

SECONDS_BETWEEN_TRIES = 0.2
_current: "Slot | None" = None


@dataclass(frozen=True)
class Slot:
    """The share of this machine that one job has to itself while it runs.

    folder : with a lock for each slot, which the system releases when its holder ends or is killed
    number, slots : which one of how many
    cpus : numbers of its CPUs
    """

    folder: Path
    number: int
    slots: int
    cpus: list[int]

    def busy(self) -> set[int]:
        """The other slots that a job holds at this moment."""
        return {number for number in self._others() if _held(_lock(self.folder, number))}

    def begun(self, since: float) -> set[int]:
        """The other slots whose last job began after ``since``, in seconds of ``time.time``."""
        started = {number: _started(self.folder, number) for number in self._others()}
        return {number for number, path in started.items() if path.is_file() and path.stat().st_mtime >= since}

    def _others(self) -> list[int]:
        return [number for number in range(self.slots) if number != self.number]


def shares(cpus: int, slots: int | None, each: int | None) -> tuple[int, int]:
    """How many jobs run at once and how many CPUs each of them has, of which one is given.

    Raises
    ------
    ValueError
        if there are fewer CPUs than that takes.
    """
    slots = slots or max(cpus // (each or 1), 1)
    each = each or cpus // slots
    if each < 1 or slots * each > cpus:
        raise ValueError(
            f"{slots} jobs at once of {max(each, 1)} CPUs each: there are {cpus} CPUs here, and jobs that share some "
            "slow each other down; run fewer at once, or give more in device.cpus="
        )
    return slots, each


@contextmanager
def slot(folder: Path, cpus: list[int] | None, slots: int | None, each: int | None) -> Iterator[Slot]:
    """The first slot that is free, for the duration of a ``with`` block; waits for one if there is none.

    Parameters
    ----------
    folder : on this machine, the same for all jobs that share its CPUs
    cpus : to share out; None: all that were open to this process when it began
    slots, each : see :func:`shares`

    Raises
    ------
    ValueError
        see :func:`shares`.
    """
    global _current
    cpus = _first_affinity() if cpus is None else sorted(set(cpus))
    slots, each = shares(len(cpus), slots, each)
    folder.mkdir(parents=True, exist_ok=True)
    number, lock = _first_free(folder, slots)
    try:
        _started(folder, number).touch()
        _current = Slot(folder, number, slots, cpus[number * each : (number + 1) * each])
        yield _current
    finally:
        _current = None
        lock.release()


def current() -> Slot | None:
    """The slot of the job that runs in this process, if any."""
    return _current


@cache
def _first_affinity() -> list[int]:
    """Read once: a process that runs several jobs one after the other is pinned by the first."""
    return affinity() or list(range(os.cpu_count() or 1))


def _first_free(folder: Path, slots: int) -> tuple[int, FileLock]:
    while True:
        for number in range(slots):
            lock = _lock(folder, number)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            return number, lock
        time.sleep(SECONDS_BETWEEN_TRIES)


def _lock(folder: Path, number: int) -> FileLock:
    return FileLock(folder / f"{number}.lock")


def _started(folder: Path, number: int) -> Path:
    return folder / f"{number}.started"


def _held(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False
