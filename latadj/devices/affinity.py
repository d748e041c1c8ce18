"""Which CPUs this process may run on."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path


def affinity() -> list[int] | None:
    """Numbers of the CPUs that this process may run on; None where the system does not say."""
    if sys.platform != "linux":
        return None
    return sorted(os.sched_getaffinity(0))


def pin(cpus: Iterable[int]) -> None:
    """Keep every thread of this process, and those that it will start, on ``cpus``.

    Call it before torch is imported: the size of a thread pool is chosen from the CPUs that are open when it starts,
    and threads that share a CPU only wait for each other.

    Raises
    ------
    ValueError
        if there are none, one is not open to this process, or the system cannot pin; nothing is changed then.
    """
    chosen = sorted(set(cpus))
    shown = "[" + ",".join(map(str, chosen)) + "]"
    if sys.platform != "linux":
        raise ValueError(f"device.cpus={shown}: {sys.platform} cannot keep a process on some CPUs; leave it null")
    available = _available()
    if not chosen or not set(chosen) <= available:
        possible = ",".join(map(str, sorted(available)))
        raise ValueError(f"device.cpus={shown}: expected some of [{possible}], or null for all of them")
    # A call without a number reaches one thread only, and numpy has started others on import.
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), chosen)
        except ProcessLookupError:  # ended just now
            continue


def _available() -> set[int]:
    """What the kernel would give: an earlier pin may be widened again, a container's limit may not."""
    if sys.platform != "linux":
        return set()
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, range(max(os.cpu_count() or 1, max(before) + 1)))
        return os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, before)
