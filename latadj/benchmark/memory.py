"""Memory that a piece of work needs at its peak.

An allocator keeps what it was given: what an earlier variant freed, a later one may use again without growing.
Comparing variants is fair in separate processes; within one, call :func:`release` before each (as
:func:`peak_memory` does) and read the figures as those of the whole process, its libraries and models included.
"""

import gc
import multiprocessing
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from transformers import PreTrainedModel

from latadj.config import DeviceConfig
from latadj.devices.device import choose
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.utils.memory import trim

Result = TypeVar("Result")
CLEAR_PEAK = "5"  # man proc_pid_clear_refs: resets the peak resident size to the current one


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(psutil.Process().memory_info().rss)


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Peak of memory while ``work`` runs.

    Returns
    -------
    bytes: on CUDA those that PyTorch allocated on the device, on a Linux CPU the resident size of this process;
    None elsewhere, and ``work`` is not run then
    """
    release()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or not _reset_peak():
        return None
    work()
    return _peak()


def in_own_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """What a module's function returns in a fresh process, where nobody else's memory lies about."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        result = pool.apply(function, arguments)
        # Left to itself a pool kills its process, which then leaves semaphores of its libraries behind.
        pool.close()
        pool.join()
        return result


def release() -> None:
    """Collect garbage, and hand freed memory back to the system as :func:`latadj.utils.memory.trim` does."""
    gc.collect()
    trim()


def _reset_peak() -> bool:
    """Whether the kernel could be told to start its peak anew; it can also be read there."""
    try:
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK, encoding="ascii")
    except OSError:
        return False
    return _peak() is not None


def _peak() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def footprint(
    make: Callable[[], PreTrainedModel],
    device: DeviceConfig,
    shape: tuple[int, int],
    spec: KernelSpec | None = None,
    profile: Profile | None = None,
) -> float | None:
    """Peak of the process while a model serves batches of one shape.

    Parameters
    ----------
    make : makes the plain model; can be pickled
    shape : (batch, length)
    spec, profile : how it is lowered and cut; without a spec it is the plain model, as transformers runs it

    Returns
    -------
    MB of a process (libraries, weights and all), of the device's memory on CUDA; None where it cannot be read
    """
    return in_own_process(_serve, make, device, shape, spec, profile)


def _serve(
    make: Callable[[], PreTrainedModel],
    device: DeviceConfig,
    shape: tuple[int, int],
    spec: KernelSpec | None,
    profile: Profile | None,
) -> float | None:
    where = choose(device)
    model = make().to(where)
    if spec is not None:
        lower(attach(model), spec)
    # A head that reads the last token that is no padding would otherwise be cut to the first one.
    filler = 2 if model.config.pad_token_id == 1 else 1
    ids = torch.full(shape, filler, device=where)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(2):
                model(input_ids=ids)

    with nullcontext() if profile is None else at_profile(model, profile):
        peak = peak_memory(work, where)
    return None if peak is None else peak / 2**20
