"""Was the machine quiet while something was measured?"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from latadj.devices import slots
from latadj.devices.affinity import affinity

log = logging.getLogger("latadj")
BUSY_ELSEWHERE = 0.10
STEAL = 0.02
SPREAD = 0.10
SHORTEST_S = 0.5  # the kernel counts in ticks of 10 ms: shares of less time than this do not count


@dataclass
class NoiseReport:
    """How quiet it was.

    busy_elsewhere : share of the cores open to this process that other processes kept busy
    steal : share of them that the hypervisor gave to other machines
    spread : how far rounds of the same work lie apart: interquartile range over median, of the middle variant;
        None where fewer than three rounds were measured
    noisy : whether one of these is too large to trust the clock
    warning : one line that says so
    beside : other jobs of the same multirun that ran on this machine meanwhile, on CPUs of their own
    """

    busy_elsewhere: float
    steal: float
    spread: float | None
    noisy: bool
    warning: str | None
    beside: int = 0


@dataclass
class _Reading:
    """Seconds since some point in the past: the clock's, and CPU time of all, of the hypervisor and of ourselves."""

    clock: float
    busy: float
    steal: float
    ours: float


class NoiseMonitor:
    """Context manager that compares this process's CPU time, children included, with the whole machine's.

    Of a GPU only the cores that feed it are watched.
    """

    def __init__(self) -> None:
        self._cores = _our_cores()
        self._start: _Reading | None = None
        self._end: _Reading | None = None
        self._slot = slots.current()
        self._beside: set[int] = set()
        self._began = 0.0

    def __enter__(self) -> "NoiseMonitor":
        self._began = time.time()
        self._beside = self._slot.busy() if self._slot else set()
        self._start = _read(self._cores)
        return self

    def __exit__(self, *error: object) -> None:
        self._end = _read(self._cores)
        if self._slot:
            self._beside |= self._slot.busy() | self._slot.begun(self._began)

    def report(self, samples: Mapping[str, Any] | None = None) -> NoiseReport:
        """What happened between enter and exit; logs the warning if there is one.

        Parameters
        ----------
        samples : name -> (rounds, pieces) seconds that were measured meanwhile

        Raises
        ------
        RuntimeError
            before the context was left.
        """
        if self._start is None or self._end is None:
            raise RuntimeError("NoiseMonitor.report() comes after its `with` block")
        seconds = self._end.clock - self._start.clock
        everything = max(seconds * len(self._cores), 1e-9)
        busy, steal = self._end.busy - self._start.busy, self._end.steal - self._start.steal
        others = busy - (self._end.ours - self._start.ours)
        result = noise_report(
            busy_elsewhere=min(max(others / everything, 0.0), 1.0),
            steal=min(max(steal / everything, 0.0), 1.0),
            spread=spread_of(samples or {}),
            long_enough=seconds >= SHORTEST_S,
            beside=len(self._beside),
        )
        if result.warning:
            log.warning("%s", result.warning)
        return result


def noise_report(
    busy_elsewhere: float, steal: float, spread: float | None, long_enough: bool = True, beside: int = 0
) -> NoiseReport:
    """Say what was wrong, in one line; CPU shares count only if ``long_enough``."""
    reasons = []
    if long_enough and busy_elsewhere > BUSY_ELSEWHERE:
        reasons.append(f"other processes used {busy_elsewhere:.0%} of the cores")
    if long_enough and steal > STEAL:
        reasons.append(f"the hypervisor took {steal:.0%} of the cores")
    if spread is not None and spread > SPREAD:
        reasons.append(f"rounds of the same work lay {spread:.0%} apart")
    if beside:  # with cores of their own they still share memory and the chip's power
        reasons.append(f"{beside} other job{'s' if beside > 1 else ''} of this multirun ran on this machine")
    warning = " and ".join(reasons) + " while this was measured: run it again on a quiet machine" if reasons else None
    return NoiseReport(busy_elsewhere, steal, spread, bool(reasons), warning, beside)


def spread_of(samples: Mapping[str, Any]) -> float | None:
    """Interquartile range of a variant's rounds over their median: that of the middle variant.

    Parameters
    ----------
    samples : name -> (rounds, pieces) seconds
    """
    rounds = [np.asarray(values).sum(axis=1) for values in samples.values()]
    spreads = [
        np.subtract(*np.percentile(sums, [75, 25])) / np.median(sums)
        for sums in rounds
        if len(sums) >= 3 and np.median(sums) > 0
    ]
    return float(np.median(spreads)) if spreads else None


def _read(numbers: list[int]) -> _Reading:
    """The clock is read last on entering and on leaving alike, so that what reading costs cancels out."""
    every = psutil.cpu_times(percpu=True)
    cores = [every[number] for number in numbers]
    # On Linux `user` holds the time of guests too; iowait is idle time.
    kinds = ("user", "nice", "system", "irq", "softirq")
    busy = sum(getattr(core, kind, 0.0) for core in cores for kind in kinds)
    steal = sum(getattr(core, "steal", 0.0) for core in cores)
    ours = _our_seconds()
    return _Reading(time.perf_counter(), busy, steal, ours)


def _our_cores() -> list[int]:
    """The cores that this process may use: on the others nobody can be in its way."""
    count = psutil.cpu_count() or 1
    open_to_us = affinity() or list(range(count))
    # Where a core is offline, places in psutil's list are not the kernel's numbers.
    return open_to_us if max(open_to_us) < count else list(range(count))


def _our_seconds() -> float:
    """CPU seconds of this process, its living descendants, and the children that have ended."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            # All four: a child that ends moves from its own `user` to its parent's `children_user`.
            total += sum(process.cpu_times()[:4])
        except psutil.Error:  # ended just now
            continue
    return total
