"""Linear layers with int8 weights, whose activations become int8 at each call."""

import math
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from latadj.devices.device import vnni
from latadj.devices.measured_times import remembered
from latadj.kernels.lowered_linear import FUSED_ACTIVATIONS, TINY, LoweredLinear, padded_rows

# Numbers of rows at which the two int8 engines are compared.
COMPARED_ROWS = (4, 8, 16, 24, 40)
# Two int8 weights may come to this before they are rounded: 255 times them, by half a step more each, has 16 bits.
PAIR = 32767 / 255 - 1


class Int8Linear(LoweredLinear):
    """A linear layer with int8 weights, a scale for each output; activations become int8 at each call.

    The scale of the activations is one for all rows of a call, so a row's result depends a little on the others.
    Run by oneDNN, with an activation fused and the output in the type that ``dtype`` names; a few rows by the older
    engine, whose calls cost less: see :func:`few_rows`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        quantised, scale = _quantised(weight)
        self.weight = torch.ops.onednn.qlinear_prepack(quantised.int_repr(), None)
        self.scale, self.zero = scale.float(), torch.zeros(len(scale), dtype=torch.int32)
        self.bias = bias
        self.post = FUSED_ACTIVATIONS[activation] if activation else ("none", "")
        self.few = DynamicInt8Linear(weight, bias, "x86") if "x86" in engines() else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "weight": self.weight.to_dense().t().contiguous()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.weight = torch.ops.onednn.qlinear_prepack(self.weight, None)

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        if self.few is not None and rows.shape[0] <= few_rows():
            return self.by_few(rows, dtype)
        return self.by_onednn(rows, dtype)

    def by_few(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Run it by the older engine."""
        assert self.few is not None
        (kind, variant), states = self.post, self.few(rows, dtype)
        return states if kind == "none" else nn.functional.gelu(states, approximate=variant)

    def by_onednn(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Run it by oneDNN."""
        (kind, variant), (plain, scale, zero) = self.post, _quantised_rows(rows.float())
        return torch.ops.onednn.qlinear_pointwise.default(
            *(padded_rows(plain), scale, zero, self.weight, self.scale, self.zero, self.bias),
            *(1.0, 0, dtype or torch.float32, kind, [], variant),
        )[: rows.shape[0]]


@cache
def few_rows() -> int:
    """Up to how many rows the older engine runs an int8 layer faster than oneDNN does, as measured on this device."""

    def make() -> dict[str, Callable[[], object]]:
        generator = torch.Generator().manual_seed(0)
        layer = Int8Linear(torch.randn(1536, 384, generator=generator), torch.zeros(1536), "GELUActivation")
        inputs = {count: torch.randn(count, 384, generator=generator) for count in COMPARED_ROWS}
        return {
            f"{name}, {count} rows": partial(_often, run, rows)
            for count, rows in inputs.items()
            for name, run in (("x86", layer.by_few), ("onednn", layer.by_onednn))
        }

    names = [f"{name}, {count} rows" for count in COMPARED_ROWS for name in ("x86", "onednn")]
    times = remembered("an int8 layer", torch.device("cpu"), names, make)

    def total(few: int) -> float:
        return sum(times[f"{'x86' if count <= few else 'onednn'}, {count} rows"] for count in COMPARED_ROWS)

    return min((0, *COMPARED_ROWS), key=total)


def _often(run: Callable[[Tensor], Tensor], rows: Tensor) -> None:
    with torch.inference_mode():
        for _ in range(16):  # a single one takes less than what a clock is off
            run(rows)


class DynamicInt8Linear(LoweredLinear):
    """What :class:`Int8Linear` computes, by an engine of PyTorch's older dynamic quantisation, for other CPUs.

    Without VNNI, x86 adds the products of two neighbours in 16 bits, where they may overflow. Weights are scaled so
    that no two can: each output has a scale of its own, where activations, all of one, could spare no bit.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, engine: str) -> None:
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = engine
        try:
            scale = None if engine == "qnnpack" or vnni() else _pairs(weight) / PAIR
            self.packed = torch.ops.quantized.linear_prepack(_quantised(weight, scale)[0], bias)
        finally:
            torch.backends.quantized.engine = before

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        states = torch.ops.quantized.linear_dynamic.default(rows.float(), self.packed)
        return states if dtype is None else states.to(dtype)


def _quantised_rows(rows: Tensor) -> tuple[Tensor, float, int]:
    """Activations as unsigned bytes, their scale and their zero; PyTorch's own call passes over them once more.

    Raises
    ------
    ValueError
        if there is a number that is none, or an infinite one.
    """
    least, largest = (float(bound) for bound in rows.aminmax())
    scale = max((max(largest, 0.0) - min(least, 0.0)) / 255, TINY)
    if not scale < math.inf:
        raise ValueError("an int8 layer got numbers that are not finite: serve this model in fp32 or bf16")
    zero = round(-min(least, 0.0) / scale)
    quantised = torch.quantize_per_tensor(rows, scale, zero, torch.quint8)
    # The same bytes as a plain tensor, which `int_repr` would copy.
    plain = torch.empty(0, dtype=torch.uint8).set_(quantised.untyped_storage(), 0, quantised.shape, quantised.stride())
    return plain, scale, zero


def engines() -> list[str]:
    """The engines of PyTorch's older dynamic int8 that this build has."""
    return list(torch.backends.quantized.supported_engines)


def _pairs(weight: Tensor) -> Tensor:
    """The most that two neighbours of the same sign come to, in each output of a weight (out, in)."""
    two = nn.functional.pad(weight, (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2)
    return two.clamp(min=0).sum(dim=2).maximum((-two).clamp(min=0).sum(dim=2)).amax(dim=1)


def _quantised(weight: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weights in int8 with a scale for each output, by which its largest is 127 if None, and the scales."""
    scale = weight.abs().amax(dim=1) / 127 if scale is None else scale
    scale = scale.clamp(min=1e-12).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, present, and the fastest: `KernelSpec` is where to replace it
        torch.quantize_per_tensor_dynamic(weight[:1], torch.quint8, False)  # warns once, so not later
        return torch.quantize_per_channel(
            weight, scale, torch.zeros(len(scale), dtype=torch.long), 0, torch.qint8
        ), scale
