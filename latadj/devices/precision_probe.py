"""Whether this device is faster in bf16, by measuring: that it has the instructions does not say so.

Measured once on a device, and remembered in the user's cache. A run that is gone on with so finds the same answer.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from latadj.config import DeviceConfig
from latadj.devices.device import place
from latadj.elimination.attention import attention
from latadj.utils.files import load_json, write_json
from latadj.utils.serialization import structure

log = logging.getLogger("latadj")
# bf16 costs accuracy, so it has to be faster by more than a clock is off.
FASTER = 1.1
ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """Milliseconds of the same work in both types, the least of a few rounds in turn."""

    fp32_ms: float
    bf16_ms: float

    @property
    def bf16_pays(self) -> bool:
        """Whether bf16 is so much faster that it is worth its rounding."""
        return self.fp32_ms > FASTER * self.bf16_ms

    def __str__(self) -> str:
        return f"{self.bf16_ms:.1f} ms in bf16, {self.fp32_ms:.1f} ms in fp32"


def trains_in_bf16(config: DeviceConfig, device: torch.device) -> bool:
    """Whether fine-tuning runs under bf16 autocast; ``auto`` measures which is faster."""
    if config.train_precision != "auto":
        return config.train_precision == "bf16"
    return device.type != "mps" and training_step(device).bf16_pays


@dataclass
class _Remembered:
    """What the cache holds: by work, then by device."""

    timings: dict[str, dict[str, Timing]]


def training_step(device: torch.device) -> Timing:
    """A training step of one transformer layer, under bf16 autocast and without."""
    layer = nn.TransformerEncoderLayer(384, 12, 1536, dropout=0.0, activation="gelu", batch_first=True).to(device)
    inputs = torch.randn(32, 32, 384, generator=torch.Generator().manual_seed(0)).to(device)

    def step(dtype: torch.dtype) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            loss = layer(inputs).float().square().mean()
        loss.backward()
        layer.zero_grad()

    return _remembered("training step", device, step)


def attention_product(device: torch.device) -> Timing:
    """The attention of one layer for inference, whose queries, keys and values are cast to bf16 or not."""
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(16, 12, 64, 32, generator=generator).to(device) for _ in range(3)]

    def run(dtype: torch.dtype) -> None:
        query, key, value = (state.to(dtype) for state in states)
        with torch.inference_mode():
            attention(query, key, value, None, scale=32**-0.5)[0].float()

    return _remembered("attention", device, run)


def cache_file() -> Path:
    """Where what was measured is remembered."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "latadj" / "precision.json"


# Keyed by work and device.
_known: dict[tuple[str, str], Timing] = {}


def _remembered(work: str, device: torch.device, run: Callable[[torch.dtype], None]) -> Timing:
    """The timing of some work on a device, measured if nobody did."""
    where = place(device)
    if (work, where) not in _known:
        remembered = _read()
        if where not in remembered.get(work, {}):
            found = _timed(run, device)
            log.info("a layer's %s takes %s on this device", work, found)
            remembered.setdefault(work, {})[where] = found
            _write(remembered)
        _known[work, where] = remembered[work][where]
    return _known[work, where]


def _read() -> dict[str, dict[str, Timing]]:
    """What is remembered; nothing where the file is missing or of another form."""
    try:
        return structure(_Remembered, load_json(cache_file())).timings
    except (OSError, ValueError):
        return {}


def _write(remembered: dict[str, dict[str, Timing]]) -> None:
    try:
        write_json(cache_file(), asdict(_Remembered(remembered)))
    except (OSError, ValueError) as error:  # a full disk, or a home that cannot be written: measured again next time
        log.debug("not remembered: %s", error)


def _timed(work: Callable[[torch.dtype], None], device: torch.device) -> Timing:
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    for turn in range(ROUNDS + 1):
        for dtype in best:
            start = time.perf_counter()
            work(dtype)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first one makes kernels
                best[dtype] = min(best[dtype], 1000 * (time.perf_counter() - start))
    return Timing(best[torch.float32], best[torch.bfloat16])
