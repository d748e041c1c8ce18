"""The name under which a runtime's speed on this machine stands in ``latadj.json``."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def place(threads: int, runtime: str) -> str:
    """Name of this machine's CPU with the runtime and all that its speed depends on, but for the precision."""
    try:
        number = version(runtime)
    except PackageNotFoundError:
        number = "?"
    return f"{_processor()}, cpu, {threads} threads, {runtime} {number}"


def cpu_threads(asked: int | None) -> int:
    """As many threads as are asked for, else one for each CPU that this process may use."""
    if asked is not None:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def calibrate_command(folder: Path, threads: int, runtime: str) -> str:
    """The command that measures a folder's graphs on this machine."""
    return f"latadj calibrate runtime={runtime} exported={folder} device.threads={threads}"


def _processor() -> str:
    """As of ``latadj.devices.hardware_key.cpu_name``, which needs more packages."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
