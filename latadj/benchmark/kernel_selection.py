"""Which kernel runs a precision fastest on this device, and which of the precisions that need no comparison of answers.

Both are measured on one of the model's own layers.
"""

import copy
import logging
from collections.abc import Callable, Mapping
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
from latadj.devices.measured_times import FLOATS, Times, Timing, keep, layer_work, recalled, timing
from latadj.elimination.architectures import Architecture, architecture_of, layers_of
from latadj.elimination.architectures.base import weight_of
from latadj.elimination.attention import attention
from latadj.kernels.int8_linear import engines
from latadj.kernels.linear import DTYPES, KernelSpec
from latadj.kernels.lowering import lower_layer

log = logging.getLogger("latadj")
# Rows at which kernels are compared: one short text, a batch of them, and one of long texts; and most seconds for it.
ROWS = (24, 384, 1536)
BUDGET_S = 15.0
EQUAL = 1e-5
# Texts and tokens of the pass by which fp32 and bf16 are compared.
TEXTS, TOKENS = 12, 32


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
    names = kernels(precision, device)
    return KernelSpec(precision, names[0] if len(names) == 1 else _fastest(_kernel_times(model, precision, device)))


def remembered_kernel(model: PreTrainedModel, precision: str, device: torch.device) -> KernelSpec:
    """As :func:`fastest_kernel`, but measured once on a device for layers of one size: it would take seconds each time.

    Parameters
    ----------
    model : in fp32, not lowered
    """
    names = kernels(precision, device)
    if len(names) == 1:
        return KernelSpec(precision, names[0])
    work = f"{_largest_work(model)}, {precision}, by kernel"
    times = recalled(work, device)
    if not times or not set(times) <= set(names):
        times = _kernel_times(model, precision, device)
        keep(work, device, times)
    return KernelSpec(precision, _fastest(times))


def _fastest(times: Times) -> str:
    return min(times, key=lambda name: times[name])


def _kernel_times(model: PreTrainedModel, precision: str, device: torch.device) -> Times:
    """Milliseconds of a layer by each kernel of a precision, those left out that compute something else."""
    specs = [KernelSpec(precision, name) for name in kernels(precision, device)]
    architecture = architecture_of(model)
    layer = copy.deepcopy(_largest(model)).eval()  # the model's own stays as it is
    width, heads = _sizes(architecture, layer)
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
    return {name: 1000 * float(np.exp(np.log(np.median(seconds[name], axis=0)).mean())) for name in work}


def serving_precision(model: PreTrainedModel, device: torch.device) -> str:
    """``bf16`` if one of the model's layers is faster in it than in fp32 by more than a clock is off, else ``fp32``.

    Measured once on a device for layers of one size, with the attention, each by its fastest kernel, and remembered.
    int8 is no choice: it changes more answers than an unseen model should have changed for it.

    Parameters
    ----------
    model : in fp32, not lowered
    """
    if device.type == "mps":
        return "fp32"
    measured = layer_timing(model, device)
    precision = "bf16" if measured.bf16_pays else "fp32"
    log.info(
        "device.precision=auto takes %s: a layer takes %s on this device; `latadj calibrate device.precision=auto` "
        "compares answers, and int8 too",
        *(precision, measured),
    )
    return precision


def layer_timing(model: PreTrainedModel, device: torch.device) -> Timing:
    """What one pass of a model's largest layer takes in fp32 and in bf16; see :func:`serving_precision`."""
    architecture, largest = architecture_of(model), _largest(model)

    def make() -> Mapping[str, Callable[[], None]]:
        return {
            precision: _layer_pass(architecture, largest, fastest_kernel(model, precision, device), device)
            for precision in FLOATS
        }

    return timing(_largest_work(model), device, make)


def _largest_work(model: PreTrainedModel) -> str:
    """The name of a pass of the model's largest layer."""
    architecture, largest = architecture_of(model), _largest(model)
    width, heads = _sizes(architecture, largest)
    inner = len(weight_of(attrgetter(architecture.paths(largest).inner[0])(largest)))
    return layer_work(model.config.model_type, width, heads, inner)


def _layer_pass(architecture: Architecture, largest: nn.Module, spec: KernelSpec, device: torch.device) -> Any:
    """A pass of a copy of a layer by a kernel, as a call."""
    layer = copy.deepcopy(largest).to(DTYPES[spec.precision]).eval()
    width, heads = _sizes(architecture, layer)
    size = architecture.head_widths(layer)[-1]
    lower_layer(architecture, layer, spec, trims=False)
    parts = architecture.parts(layer)
    generator = torch.Generator().manual_seed(0)
    rows, states = (
        torch.randn(TEXTS * TOKENS, features, generator=generator).to(device, DTYPES[spec.precision])
        for features in (width, heads)
    )
    by_head = states.view(TEXTS, TOKENS, heads // size, size).transpose(1, 2)

    def run() -> None:
        with torch.inference_mode():
            parts.qkv(rows, None)
            # A pruned layer may have no heads left.
            context = attention(by_head, by_head, by_head, None, scale=size**-0.5)[0].flatten(0, 1) if heads else states
            parts.feed_forward(parts.project(context, rows))

    return run


def _largest(model: PreTrainedModel) -> nn.Module:
    # Of all layers: of the first a pruned model may have nothing left.
    largest: nn.Module = max(layers_of(model), key=lambda layer: sum(part.numel() for part in layer.parameters()))
    return largest


def _sizes(architecture: Architecture, layer: nn.Module) -> tuple[int, int]:
    """Width of the hidden state and of what attention gives."""
    width, heads = weight_of(attrgetter(architecture.paths(layer).output)(layer)).shape
    return width, heads
