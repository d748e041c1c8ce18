"""Linear maps whose weights are laid out for the kernel that runs them; for inference only.

The weights of one or several ``nn.Linear`` become one map. Nothing here is a parameter: a lowered model cannot be
trained or saved, see :mod:`latadj.elimination.lower`.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("fp32", "bf16", "int8")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}
# Fused after the map by the oneDNN kernel, by the name transformers gives the activation's class.
FUSED_ACTIVATIONS = {"GELUActivation": ("gelu", "none"), "NewGELUActivation": ("gelu", "tanh")}


# From this many word-vectors a sequence, attention beside int8 maps runs in bf16: below, converting costs more.
BF16_ATTENTION_FROM = 96


@dataclass(frozen=True)
class Route:
    """A precision and the kernel that runs it.

    precision : ``fp32``, ``bf16`` or ``int8``
    kernel : ``plain`` (``nn.Linear``), ``onednn`` (packed weights), or an engine of PyTorch's dynamic int8
    """

    precision: str
    kernel: str

    def pack(self, *maps: nn.Linear, activation: str | None = None) -> nn.Module:
        """Some linear maps of the same input as one.

        Parameters
        ----------
        activation : class name of an activation to run after the map, if :meth:`fuses` says that it can
        """
        weight = torch.cat([part.weight.detach() for part in maps])
        bias = None if maps[0].bias is None else torch.cat([part.bias.detach() for part in maps])
        if self.precision == "int8":
            return Int8Map(weight, bias, self.kernel)
        if self.kernel == "onednn":
            return PackedMap(weight, bias, activation)
        return PlainMap(weight, bias)

    def fuses(self, activation: str) -> bool:
        """Whether this route runs an activation inside its linear map."""
        return self.kernel == "onednn" and self.precision != "int8" and activation in FUSED_ACTIVATIONS


class Constant(nn.Module):
    """A map that nothing changes any more, so copies of a model share it."""

    def __deepcopy__(self, memo: Any) -> "Constant":
        return self


class PackedMap(Constant):
    """A linear map in oneDNN's own weight layout, fp32 or bf16, with its activation fused if there is one."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.bias = bias
        self.post = FUSED_ACTIVATIONS[activation] if activation else ("none", "")

    def forward(self, rows: Tensor) -> Tensor:
        kind, variant = self.post
        return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, kind, [], variant)


class Int8Map(Constant):
    """A linear map with int8 weights, a scale for each output; activations become int8 at each call.

    The scale of the activations is one for all rows of a call, so a row's result depends a little on the others.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, engine: str) -> None:
        super().__init__()
        scale = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12).double()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, present, and the fastest: `Route` is where to replace it
            quantised = torch.quantize_per_channel(
                weight, scale, torch.zeros(len(scale), dtype=torch.long), 0, torch.qint8
            )
            before = torch.backends.quantized.engine
            torch.backends.quantized.engine = engine
            try:
                self.packed = torch.ops.quantized.linear_prepack(quantised, bias)
            finally:
                torch.backends.quantized.engine = before
        # Without VNNI, sums of two products of full 8-bit numbers overflow 16 bits: 7 bits then.
        self.reduce_range = not vnni()

    def forward(self, rows: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(rows.float(), self.packed, self.reduce_range)


class PlainMap(Constant):
    """A linear map as ``nn.Linear`` runs it."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.linear(rows, self.weight, self.bias)


class StateMaps(nn.Module):
    """Query, key and value maps of an attention block, run as one; the query apart where only some positions ask."""

    def __init__(self, route: Route, query: nn.Linear, key: nn.Linear, value: nn.Linear, separate_query: bool) -> None:
        super().__init__()
        self.query = route.pack(query) if separate_query else None
        self.together = route.pack(key, value) if separate_query else route.pack(query, key, value)
        together = (key, value) if separate_query else (query, key, value)
        self.sizes = [part.out_features for part in together]
        self.casts = route.precision == "int8" and computes_bf16()

    def forward(self, rows: Tensor, asking: Tensor | None, length: int) -> tuple[Tensor, ...]:
        """Queries of ``asking`` (None: of ``rows``), keys and values; ``length`` is that of the longest sequence."""
        dtype = torch.bfloat16 if self.casts and length >= BF16_ATTENTION_FROM else rows.dtype
        states = self.together(rows).to(dtype).split(self.sizes, dim=-1)
        if self.query is None:
            return states
        return (self.query(rows if asking is None else asking).to(dtype), *states)

    def parts(self) -> list[nn.Module]:
        """A map each for query, key and value, as transformers' own forward asks for them."""
        ends = [sum(self.sizes[: index + 1]) for index in range(len(self.sizes))]
        parts: list[nn.Module] = [
            Part(self.together, end - size, end) for end, size in zip(ends, self.sizes, strict=True)
        ]
        return parts if self.query is None else [self.query, *parts]


class Part(nn.Module):
    """One of the maps inside a fused one: the whole, cut down to its outputs."""

    def __init__(self, whole: nn.Module, start: int, stop: int) -> None:
        super().__init__()
        self.whole, self.start, self.stop = whole, start, stop

    def forward(self, rows: Tensor) -> Tensor:
        return self.whole(rows)[..., self.start : self.stop]


def vnni() -> bool:
    """Whether this CPU adds products of 8-bit numbers without overflow."""
    return _cpu_has("_is_vnni_supported", "_is_avx512_vnni_supported", "_is_amx_tile_supported")


def computes_bf16() -> bool:
    """Whether this CPU has bf16 instructions; without them bf16 is emulated, several times slower than fp32."""
    return _cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def _cpu_has(*probes: str) -> bool:
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
