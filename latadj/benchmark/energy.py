"""Joules of a piece of work, read from the machine's own counters.

The counters are RAPL's on a CPU and NVML's (or AMD's) on a GPU, through Zeus (``pip install 'latadj[energy]'``).
Nothing is estimated: where there is no counter there is no figure.
"""

import logging
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

log = logging.getLogger("latadj")
ZONES = Path("/sys/class/powercap")


def joules(work: Callable[[], object], repeats: int, device: torch.device) -> float | None:
    """Energy of one run of ``work``, averaged over ``repeats`` runs after one that does not count.

    It is the energy of all that the counted hardware did meanwhile: of that one GPU, or of every CPU package with
    its memory. Counters move every few milliseconds (a GPU's up to every 100), so the runs should take seconds.
    RAPL is mostly open to root only. Its first reading starts processes that watch for its overflow; they import the
    main script again, which therefore needs its ``if __name__ == "__main__":``.

    Returns
    -------
    joules; None where Zeus or a counter is missing, or the counter did not rise

    Raises
    ------
    ValueError
        if ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}: expected at least 1")
    monitor = _monitor(device)
    if monitor is None:
        return None
    _spend(monitor, work)
    _wait_for_helpers()
    energy = _spend(monitor, lambda: [work() for _ in range(repeats)])
    if energy <= 0:
        log.info("energy is not measured: the counter did not rise in %d runs", repeats)
        return None
    return energy / repeats


def _monitor(device: torch.device) -> Any:
    """Zeus's monitor of a device, or None where it would have nothing to read."""
    # Imported here: it takes seconds, most of them for pandas and scikit-learn.
    try:
        from zeus.device import get_gpus
        from zeus.device.exception import ZeusBaseGPUError
        from zeus.monitor import ZeusMonitor
    except ImportError:
        log.info("energy is not measured: it needs pip install 'latadj[energy]'")
        return None
    # It warns of AMD's library on every machine without an AMD GPU.
    logging.getLogger("zeus").setLevel(logging.ERROR)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        try:
            # Without a counter Zeus would sum up samples of the power, from another process.
            if get_gpus().supports_get_total_energy_consumption(index):
                return ZeusMonitor(gpu_indices=[index], cpu_indices=[])
        except ZeusBaseGPUError:
            pass
    elif device.type == "cpu":
        monitor = ZeusMonitor(gpu_indices=[])
        if monitor.cpu_indices:
            return monitor
    log.info("energy is not measured: this machine shows no counter of its %s to this user", device.type)
    return None


def _spend(monitor: Any, work: Callable[[], object]) -> float:
    """Joules while ``work`` runs once."""
    monitor.begin_window("latadj")
    try:
        work()
    finally:
        measured = monitor.end_window("latadj")
    # `psys` counts the whole board, the packages included.
    packages = {index: spent for index, spent in (measured.cpu_energy or {}).items() if _zone(index) != "psys"}
    memory = measured.dram_energy or {}
    return float(sum(measured.gpu_energy.values()) + sum(packages.values()) + sum(memory.values()))


def _wait_for_helpers(most_s: float = 30, step_s: float = 0.5) -> None:
    """Wait until Zeus's processes have started: meanwhile they would use the cores, and energy, that are counted."""
    used = -1.0
    for _ in range(int(most_s / step_s)):
        helpers = multiprocessing.active_children()
        now = sum(sum(psutil.Process(helper.pid).cpu_times()[:2]) for helper in helpers)
        if not helpers or now == used:
            return
        used = now
        time.sleep(step_s)


def _zone(index: int) -> str:
    try:
        return (ZONES / f"intel-rapl:{index}" / "name").read_text(encoding="utf-8").strip()
    except OSError:  # read through Zeus's daemon
        return ""
