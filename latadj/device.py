"""The device a command runs on, its threads and its precision."""

import torch

from latadj.config import DeviceConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def choose(config: DeviceConfig) -> torch.device:
    """The device of a config; sets PyTorch's CPU threads.

    Raises
    ------
    ValueError
        if the device is unknown or not on this machine.
    """
    if config.threads is not None:
        if config.threads < 1:
            raise ValueError(f"device.threads={config.threads}: expected at least 1")
        torch.set_num_threads(config.threads)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if config.name == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    kind = config.name.split(":")[0]
    if not there.get(kind, False):
        have = ", ".join(name for name, found in there.items() if found)
        raise ValueError(f"device={config.name} is not on this machine, which has {have}: take device=auto")
    return torch.device(config.name)


def trains_in_bf16(config: DeviceConfig, device: torch.device) -> bool:
    """Whether fine-tuning runs under bf16 autocast; ``auto`` says yes where the device computes in bf16."""
    if config.train_precision != "auto":
        return config.train_precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # A CPU without these instructions emulates bf16, several times slower than fp32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
