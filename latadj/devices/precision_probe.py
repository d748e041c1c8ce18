"""Whether this device is faster in bf16, by measuring: that it has the instructions does not say so."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial

import torch
from torch import nn

from latadj.config import DeviceConfig
from latadj.devices.autocast_attention import AttentionInFloat32
from latadj.devices.measured_times import Timing, timing
from latadj.elimination.attention import attention

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def trains_in_bf16(config: DeviceConfig, device: torch.device) -> bool:
    """Whether fine-tuning runs under bf16 autocast; ``auto`` measures which is faster."""
    if config.train_precision != "auto":
        return config.train_precision == "bf16"
    return device.type != "mps" and training_step(device).bf16_pays


def training_step(device: torch.device) -> Timing:
    """A training step of one transformer layer, under bf16 autocast and without, attention as trainings run it."""

    def make() -> Mapping[str, Callable[[], None]]:
        layer = nn.TransformerEncoderLayer(384, 12, 1536, dropout=0.0, activation="gelu", batch_first=True).to(device)
        inputs = torch.randn(32, 32, 384, generator=torch.Generator().manual_seed(0)).to(device)

        def step(dtype: torch.dtype) -> None:
            bf16 = dtype is torch.bfloat16
            with (
                torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
                AttentionInFloat32() if bf16 and device.type == "cpu" else nullcontext(),
            ):
                loss = layer(inputs).float().square().mean()
            loss.backward()
            layer.zero_grad()

        return {name: partial(step, dtype) for name, dtype in DTYPES.items()}

    return timing("a training step of a layer", device, make)


def attention_product(device: torch.device) -> Timing:
    """The attention of one layer for inference, whose queries, keys and values are cast to bf16 or not."""

    def make() -> Mapping[str, Callable[[], None]]:
        generator = torch.Generator().manual_seed(0)
        states = [torch.randn(16, 12, 64, 32, generator=generator).to(device) for _ in range(3)]

        def run(dtype: torch.dtype) -> None:
            query, key, value = (state.to(dtype) for state in states)
            with torch.inference_mode():
                attention(query, key, value, None, scale=32**-0.5)[0].float()

        return {name: partial(run, dtype) for name, dtype in DTYPES.items()}

    return timing("a layer's attention", device, make)
