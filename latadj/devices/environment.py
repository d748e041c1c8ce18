"""What a result needs beside it to be run again."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from latadj.devices.affinity import affinity
from latadj.devices.hardware_key import cpu_name, cpuinfo

PACKAGES = ("latadj", "torch", "transformers", "datasets", "accelerate", "numpy")
# Instructions that decide how fast a matrix product is in some precision: of x86, and after `asimddp` of Arm.
CPU_FLAGS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16", "sve"),
)


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Device, precision, threads, CPUs, versions, commit and time of a run."""
    return {
        "device": str(device),
        "processor": processor(device),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "affinity": affinity(),
        "cpu_flags": _cpu_flags(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def processor(device: torch.device) -> str:
    """Name of the processor that a device computes on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()


def _cpu_flags() -> list[str] | None:
    """Those of ``CPU_FLAGS`` that the processor has; None where the system does not say."""
    flags = cpuinfo("flags", "Features")
    return None if flags is None else [flag for flag in CPU_FLAGS if flag in flags.split()]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of this checkout, with ``+`` where it was changed; None outside one."""
    folder = Path(__file__).resolve().parent.parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip()
