"""The name under which a runtime's speed on this machine stands in ``latadj.json``."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def place(threads: int, runtime: str = "onnxruntime") -> str:
    """Name of this machine's CPU with the runtime and all that its speed depends on, but for the precision."""
    try:
        number = version(runtime)
    except PackageNotFoundError:
        number = "?"
    return f"{_processor()}, cpu, {threads} threads, {runtime} {number}"


def _processor() -> str:
    """As of ``latadj.devices.hardware_key.cpu_name``, which needs more packages."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
