"""Linear maps whose weights are laid out for the kernel that runs them; for inference only.

The weights of one or several linear modules become one map. Nothing here is a parameter: a lowered model cannot be
trained or saved, see :mod:`latadj.elimination.lower`.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

PRECISIONS = ("fp32", "bf16", "int8")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}
# Fused after the map by the oneDNN kernel, by the name transformers gives the activation's class.
FUSED_ACTIVATIONS = {"GELUActivation": ("gelu", "none"), "NewGELUActivation": ("gelu", "tanh")}


# Up to this many rows, oneDNN's int8 spends longer on the call than on the product.
FEW_ROWS = 40
# Two int8 weights may come to this before they are rounded: 255 times them, by half a step more each, has 16 bits.
PAIR = 32767 / 255 - 1
# A row of nothing but zeros has this size.
TINY = 1e-20
# Up to this many rows, each number has its own kernel.
MANY_ROWS = 64


@dataclass(frozen=True)
class Route:
    """A precision and the kernel that runs it.

    precision : ``fp32``, ``bf16`` or ``int8``
    kernel : ``plain`` (``nn.Linear``), ``onednn`` (packed weights), or an engine of PyTorch's older dynamic int8
    """

    precision: str
    kernel: str

    def pack(self, *maps: nn.Linear | Conv1D, activation: str | None = None, uneven: bool = False) -> "Map":
        """Some linear maps of the same input as one.

        Parameters
        ----------
        maps : modules that all have a bias, or all none
        activation : class name of an activation to run after the map, if :meth:`fuses` says that it can
        uneven : whether some rows are many times as large as others, which one int8 scale would round away
        """
        weights = [weight_of(part) for part in maps]
        weight = torch.cat(weights) if len(weights) > 1 else weights[0].contiguous()
        bias = None if maps[0].bias is None else torch.cat([part.bias.detach() for part in maps])
        if weight.numel() == 0:
            return EmptyMap(len(weight), bias)
        if self.precision == "int8" and uneven:
            return LevelledMap(self.pack(unbiased(weight)), bias)
        if self.precision == "int8":
            return Int8Map(weight, bias, activation) if self.fused else DynamicInt8Map(weight, bias, self.kernel)
        if self.fused:
            return PackedMap(weight, bias, activation)
        return PlainMap(weight, bias)

    def fuses(self, activation: str) -> bool:
        """Whether this route runs an activation inside its linear map."""
        return self.fused and activation in FUSED_ACTIVATIONS

    @property
    def fused(self) -> bool:
        """Whether oneDNN runs this route, with activations inside its maps."""
        return self.kernel == "onednn"


def even(count: int) -> int:
    """The next number of rows that oneDNN is asked for: it compiles a kernel for each, which takes as long as a map.

    Elimination leaves another number in each layer and of each text. At most a sixteenth is added.
    """
    step = max(16, 1 << count.bit_length() >> 5)
    return count if count <= MANY_ROWS else -(-count // step) * step


def weight_of(part: nn.Linear | Conv1D) -> Tensor:
    """Weight of a linear module, (out, in); GPT-2 keeps it the other way round."""
    weight = part.weight.detach()
    return weight.T if isinstance(part, Conv1D) else weight


def unbiased(weight: Tensor) -> nn.Linear:
    """A linear module of a weight, (out, in)."""
    part = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    part.weight = nn.Parameter(weight, requires_grad=False)
    return part


def outputs_of(*maps: nn.Linear | Conv1D) -> list[int]:
    """How many outputs each linear module has."""
    return [len(weight_of(part)) for part in maps]


class Map:
    """A linear map of rows, (rows, in) to (rows, out). Nothing changes it any more, so copies of a model share it."""

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Run the map; ``dtype`` is the output's, that of the rows if None."""
        raise NotImplementedError

    def __deepcopy__(self, memo: Any) -> "Map":
        return self


class EmptyMap(Map):
    """A map of which no inputs or no outputs are left: zeros, or the bias."""

    def __init__(self, outputs: int, bias: Tensor | None) -> None:
        self.outputs, self.bias = outputs, bias

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        found = rows.new_zeros(len(rows), self.outputs, dtype=dtype or rows.dtype)
        return found if self.bias is None else found.add_(self.bias)


class PackedMap(Map):
    """A linear map in oneDNN's own weight layout, fp32 or bf16, with its activation fused if there is one."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.bias = bias
        self.post = FUSED_ACTIVATIONS[activation] if activation else ("none", "")

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        kind, variant = self.post
        outputs = torch.ops.mkldnn._linear_pointwise.default(_even(rows), self.weight, self.bias, kind, [], variant)
        return outputs[: len(rows)]


class Int8Map(Map):
    """A linear map with int8 weights, a scale for each output; activations become int8 at each call.

    The scale of the activations is one for all rows of a call, so a row's result depends a little on the others.
    Run by oneDNN, with an activation fused and the output in the type that is wanted; a few rows by the older
    engine, whose calls cost less.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        quantised, scale = _quantised(weight)
        self.weight = torch.ops.onednn.qlinear_prepack(quantised.int_repr(), None)
        self.scale, self.zero = scale.float(), torch.zeros(len(scale), dtype=torch.int32)
        self.bias = bias
        self.post = FUSED_ACTIVATIONS[activation] if activation else ("none", "")
        self.few = DynamicInt8Map(weight, bias, "x86") if "x86" in engines() else None

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        kind, variant = self.post
        if self.few is not None and len(rows) <= FEW_ROWS:
            states = self.few(rows, dtype)
            return states if kind == "none" else nn.functional.gelu(states, approximate=variant)
        found = torch.quantize_per_tensor_dynamic(rows.float(), torch.quint8, False)
        # The same bytes as a plain tensor, which `int_repr` would copy.
        plain = torch.empty(0, dtype=torch.uint8).set_(found.untyped_storage(), 0, found.shape, found.stride())
        return torch.ops.onednn.qlinear_pointwise.default(
            *(_even(plain), found.q_scale(), found.q_zero_point(), self.weight, self.scale, self.zero, self.bias),
            *(1.0, 0, dtype or torch.float32, kind, [], variant),
        )[: len(rows)]


class DynamicInt8Map(Map):
    """What :class:`Int8Map` computes, by an engine of PyTorch's older dynamic quantisation, for other CPUs.

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


def _even(rows: Tensor) -> Tensor:
    spare = even(len(rows)) - len(rows)
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
        warnings.simplefilter("ignore")  # deprecated, present, and the fastest: `Route` is where to replace it
        torch.quantize_per_tensor_dynamic(weight[:1], torch.quint8, False)  # warns once, so not later
        return torch.quantize_per_channel(
            weight, scale, torch.zeros(len(scale), dtype=torch.long), 0, torch.qint8
        ), scale


class LevelledMap(Map):
    """A map without bias whose rows are brought to one size before it, and back after it; the bias comes last."""

    def __init__(self, whole: Map, bias: Tensor | None) -> None:
        self.whole, self.bias = whole, bias

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        size = rows.abs().amax(dim=-1, keepdim=True).clamp_(min=TINY)
        outputs = self.whole(rows / size).mul_(size)
        if self.bias is not None:
            outputs.add_(self.bias)
        return outputs if dtype is None else outputs.to(dtype)


class PlainMap(Map):
    """A linear map as ``nn.Linear`` runs it."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return nn.functional.linear(rows, self.weight, self.bias)


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
