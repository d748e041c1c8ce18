"""The device a command runs on, its threads, its memory, and the name under which its speed is remembered."""

import ctypes
import os
import sys

import torch

from latadj.config import DeviceConfig
from latadj.devices.environment import processor
from latadj.devices.hardware_key import HardwareKey

# Numbers of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_GIB = 2**30
# Kernels that oneDNN may keep: those of two dozen pruned models at a dozen lengths are about 7,000.
_KERNELS = 16384


def choose(config: DeviceConfig) -> torch.device:
    """The device of a config; sets PyTorch's CPU threads and keeps freed memory.

    Raises
    ------
    ValueError
        if the device is unknown or not on this machine.
    """
    keep_freed_memory()
    if config.asked_threads is not None:
        if config.asked_threads < 1:
            raise ValueError(f"device.threads={config.threads}: expected at least 1")
        torch.set_num_threads(config.asked_threads)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if config.name == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))
    kind = config.name.split(":")[0]
    if not available.get(kind, False):
        have = ", ".join(name for name, is_there in available.items() if is_there)
        raise ValueError(f"device={config.name} is not on this machine, which has {have}: take device=auto")
    return torch.device(config.name)


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees, for the next pass; returns whether the allocator could be told.

    glibc hands large blocks back to the system at once and takes them anew, page by page, for each large tensor:
    at 512 tokens that is a third of a pass. Other allocators (jemalloc, tcmalloc) do not need it.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    # Older releases refuse more than 32 MiB.
    accepted = libc.mallopt(_MMAP_THRESHOLD, _GIB) or libc.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
    return bool(accepted and libc.mallopt(_TRIM_THRESHOLD, 2 * _GIB - 1))


def keep_kernels() -> None:
    """Let oneDNN keep every kernel of a process that serves many models, unless its environment says how many.

    It compiles one for each number of rows and each shape of a map, and drops the oldest beyond 1,024. A pruned model
    has other shapes in every layer, and elimination leaves other rows: models that take turns would throw each other's
    kernels out, and one in bf16 would take three times as long as by itself. It is read when the first kernel is made,
    so it has to be said before. Not for training: there hardly a batch has the rows of another, and 16,384 kernels
    are 12 GB.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))


def place(device: torch.device) -> str:
    """Name of this device with all that its speed depends on, but for the precision."""
    threads = None if device.type == "cuda" else torch.get_num_threads()
    return str(HardwareKey(processor(device), device.type, threads, torch.__version__))


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device has bf16 instructions; elsewhere bf16 is emulated, slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and computes_bf16()


def vnni() -> bool:
    """Whether this CPU adds products of 8-bit numbers without overflow."""
    return _cpu_has("_is_vnni_supported", "_is_amx_tile_supported")


def computes_bf16() -> bool:
    """Whether this CPU has bf16 instructions; without them bf16 is emulated, several times slower than fp32."""
    return _cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def packs_bf16() -> bool:
    """Whether oneDNN lays out bf16 weights for this CPU, which takes AVX-512 or its like; without it it refuses."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _cpu_has(*probes: str) -> bool:
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
