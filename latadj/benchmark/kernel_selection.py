"""Which kernel runs a precision fastest on this device."""

import copy
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.benchmark.timer import time_interleaved
from latadj.config import PRECISIONS
from latadj.devices.device import packs_bf16, vnni
from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.architectures.base import weight_of
from latadj.kernels.linear import DTYPES, KernelSpec, engines
from latadj.kernels.lowering import lower_layer

# Rows at which kernels are compared: one short text, a batch of them, and one of long texts; and most seconds for it.
ROWS = (24, 384, 1536)
BUDGET_S = 15.0
EQUAL = 1e-5


def kernels(precision: str, device: torch.device) -> list[str]:
    """The kernels that could run a precision on a device.

    Raises
    ------
    ValueError
        if there is none, or the precision is none of ours.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision}: expected one of {', '.join(PRECISIONS)}, auto")
    packs = device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if precision == "int8":
        available: list[str] = [name for name in ("x86", "fbgemm") if name in engines()]
        if not available and "qnnpack" in engines():  # where another is there it is the slowest by far
            available = ["qnnpack"]
        if device.type != "cpu":
            raise ValueError(f"device.precision=int8 runs on CPUs, not on {device.type}: take fp32 or bf16")
        if not available:
            raise ValueError("device.precision=int8 needs an engine that this PyTorch lacks: take fp32 or bf16")
        # oneDNN multiplies full 8-bit numbers, which only VNNI adds without overflow.
        return ["onednn", *available] if packs and vnni() else available
    return ["plain", "onednn"] if packs and (precision == "fp32" or packs_bf16()) else ["plain"]


def fastest_kernel(model: PreTrainedModel, precision: str, device: torch.device) -> KernelSpec:
    """The fastest kernel for a precision, measured on the model's largest layer without its attention products.

    A linear layer by itself would not do: an engine that runs activations apart, in another number format, may be as
    fast on it and half as fast in a model. A packed fp32 kernel counts only if it equals the plain one to ``EQUAL``.

    Parameters
    ----------
    model : in fp32, not lowered
    """
    specs = [KernelSpec(precision, name) for name in kernels(precision, device)]
    if len(specs) == 1:
        return specs[0]
    architecture = architecture_of(model)
    # Of all layers: of the first a pruned model may have nothing left.
    largest = max(layers_of(model), key=lambda layer: sum(part.numel() for part in layer.parameters()))
    layer = copy.deepcopy(largest).eval()  # the model's own stays as it is
    width, heads = weight_of(attrgetter(architecture.paths(layer).output)(layer)).shape
    generator = torch.Generator().manual_seed(0)
    rows = [
        tuple(torch.randn(count, size, generator=generator).to(DTYPES[precision]) for size in (heads, width))
        for count in ROWS
    ]

    def run(layer: nn.Module, context: Tensor, residual: Tensor) -> Tensor:
        with torch.inference_mode():
            parts = architecture.parts(layer)
            return parts.feed_forward(parts.project(context, residual))

    layers: dict[KernelSpec, nn.Module] = {}
    for spec in specs:
        layers[spec] = copy.deepcopy(layer).to(DTYPES[precision])  # lowering frees the weights it was given
        lower_layer(architecture, layers[spec], spec, trims=False)
    if precision == "fp32":
        exact = [run(layer, *part) for part in rows]
        layers = {
            spec: lowered
            for spec, lowered in layers.items()
            if all(
                torch.allclose(run(lowered, *part), want, atol=EQUAL) for part, want in zip(rows, exact, strict=True)
            )
        }
    work: dict[str, Any] = {
        spec.kernel: [partial(run, lowered, *part) for part in rows] for spec, lowered in layers.items()
    }
    seconds = time_interleaved(work, rounds=9, warmup=3, device=device, budget_s=BUDGET_S, settle=True)
    best = min(work, key=lambda name: float(np.log(np.median(seconds[name], axis=0)).sum()))
    return KernelSpec(precision, best)
