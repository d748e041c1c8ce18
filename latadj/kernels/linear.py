"""Linear layers whose weights are laid out for the kernel that runs them; for inference only.

The weights of one or several linear modules become one. Nothing here is a parameter: a lowered model cannot be
trained or saved, see :mod:`latadj.kernels.lowering`.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from latadj.devices.device import vnni
from latadj.devices.measured_times import remembered
from latadj.elimination.architectures.base import weight_of
from latadj.elimination.attention import kernel_rows

# The type of the states beside the linear layers of each precision.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}
# Run inside the linear layer by the oneDNN kernel, by the name transformers gives the activation's class.
FUSED_ACTIVATIONS = {"GELUActivation": ("gelu", "none"), "NewGELUActivation": ("gelu", "tanh")}
# Numbers of rows at which the two int8 engines are compared.
COMPARED_ROWS = (4, 8, 16, 24, 40)
# Two int8 weights may come to this before they are rounded: 255 times them, by half a step more each, has 16 bits.
PAIR = 32767 / 255 - 1
# A row of nothing but zeros has this size.
TINY = 1e-20


@dataclass(frozen=True)
class KernelSpec:
    """A precision and the kernel that runs it.

    precision : ``fp32``, ``bf16`` or ``int8``
    kernel : ``plain`` (``nn.Linear``), ``onednn`` (packed weights), or an engine of PyTorch's older dynamic int8
    """

    precision: str
    kernel: str

    def pack(
        self, *modules: nn.Linear | Conv1D, activation: str | None = None, uneven: bool = False
    ) -> "LoweredLinear":
        """Lay out linear modules of the same input as one.

        Parameters
        ----------
        modules : all have a bias, or all none
        activation : class name of an activation to run after it, if :meth:`fuses` says that it can
        uneven : whether some rows are many times as large as others, which one int8 scale would round away
        """
        weights = [weight_of(module) for module in modules]
        weight = torch.cat(weights) if len(weights) > 1 else weights[0].contiguous()
        bias = None if modules[0].bias is None else torch.cat([module.bias.detach() for module in modules])
        if weight.numel() == 0:
            return EmptyLinear(len(weight), bias)
        if self.precision == "int8" and uneven:
            return RowScaledLinear(self.pack(unbiased(weight)), bias)
        if self.precision == "int8":
            return Int8Linear(weight, bias, activation) if self.fused else DynamicInt8Linear(weight, bias, self.kernel)
        if self.fused:
            return PackedLinear(weight, bias, activation)
        return PlainLinear(weight, bias)

    def fuses(self, activation: str) -> bool:
        """Whether an activation runs inside the linear layer."""
        return self.fused and activation in FUSED_ACTIVATIONS

    @property
    def fused(self) -> bool:
        """Whether oneDNN runs it, with activations inside the linear layers."""
        return self.kernel == "onednn"


def unbiased(weight: Tensor) -> nn.Linear:
    """A linear module of a weight, (out, in)."""
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    module.weight = nn.Parameter(weight, requires_grad=False)
    return module


def outputs_of(*modules: nn.Linear | Conv1D) -> list[int]:
    """How many outputs each linear module has."""
    return [len(weight_of(module)) for module in modules]


class LoweredLinear:
    """A linear layer of rows, (rows, in) to (rows, out). Nothing changes it any more, so copies of a model share it."""

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Run it; ``dtype`` is the output's, that of the rows if None."""
        raise NotImplementedError

    def __deepcopy__(self, memo: Any) -> "LoweredLinear":
        return self


class EmptyLinear(LoweredLinear):
    """A linear layer of which no inputs or no outputs are left: zeros, or the bias."""

    def __init__(self, outputs: int, bias: Tensor | None) -> None:
        self.outputs, self.bias = outputs, bias

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        zeros = rows.new_zeros(len(rows), self.outputs, dtype=dtype or rows.dtype)
        return zeros if self.bias is None else zeros.add_(self.bias)


class PackedLinear(LoweredLinear):
    """A linear layer in oneDNN's own weight layout, fp32 or bf16, with its activation fused if there is one."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.bias = bias
        self.post = FUSED_ACTIVATIONS[activation] if activation else ("none", "")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "weight": self.weight.to_dense()}  # oneDNN's own layout cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        kind, variant = self.post
        count = rows.shape[0]
        padded = kernel_rows(count) != count
        outputs = torch.ops.mkldnn._linear_pointwise.default(
            _padded(rows) if padded else rows, self.weight, self.bias, kind, [], variant
        )
        return outputs[:count] if padded else outputs


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
            *(_padded(plain), scale, zero, self.weight, self.scale, self.zero, self.bias),
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


def _padded(rows: Tensor) -> Tensor:
    spare = kernel_rows(len(rows)) - len(rows)
    return nn.functional.pad(rows, (0, 0, 0, spare)) if spare else rows


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


class RowScaledLinear(LoweredLinear):
    """A linear layer whose rows are brought to one size before it, and back after it; the bias comes last."""

    def __init__(self, unbiased: LoweredLinear, bias: Tensor | None) -> None:
        self.unbiased, self.bias = unbiased, bias

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        size = rows.abs().amax(dim=-1, keepdim=True).clamp_(min=TINY)
        outputs = self.unbiased(rows / size).mul_(size)
        if self.bias is not None:
            outputs.add_(self.bias)
        return outputs if dtype is None else outputs.to(dtype)


class PlainLinear(LoweredLinear):
    """A linear layer as ``nn.Linear`` runs it."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return nn.functional.linear(rows, self.weight, self.bias)
