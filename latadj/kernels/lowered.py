"""Lowered maps as what a model asks for: its states, modules for transformers' own forward, and a layer's blocks."""

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from latadj.kernels.linear import KernelSpec, LoweredLinear, computes_bf16, outputs_of

# From this many rows, attention beside int8 maps runs in bf16; with fewer, fp32's fused kernel is faster.
BF16_ATTENTION_FROM = 96


class QKVLinear:
    """Query, key and value maps of an attention block, run as one; the query apart where only some positions ask.

    Parameters
    ----------
    maps : query, key and value map, or one that is all three
    """

    def __init__(self, route: KernelSpec, *maps: nn.Linear | Conv1D, separate_query: bool = False) -> None:
        self.query = route.pack(maps[0]) if separate_query else None
        together = maps[1:] if separate_query else maps
        self.together, self.sizes = route.pack(*together), outputs_of(*together)
        self.casts = route.precision == "int8" and computes_bf16()

    def __call__(self, rows: Tensor, asking: Tensor | None) -> tuple[Tensor, ...]:
        """Queries of ``asking`` (None: of ``rows``), keys and values."""
        dtype = torch.bfloat16 if self.casts and len(rows) >= BF16_ATTENTION_FROM else None
        states = torch.split(self.together(rows, dtype), self.sizes, dim=-1)
        return states if self.query is None else (self.query(rows if asking is None else asking, dtype), *states)

    def parts(self) -> list[nn.Module]:
        """A module each for query, key and value, as transformers' own forward asks for them."""
        parts = linear_modules(self.together, self.sizes)
        return parts if self.query is None else [LinearModule(self.query), *parts]


class LinearModule(nn.Module):
    """A map as the module that transformers' own forward asks for."""

    # T5 looks at the type of a weight, where there is one.
    weight = None

    def __init__(self, whole: LoweredLinear) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, states: Tensor) -> Tensor:
        return _mapped(self.whole, states)


class FusedLinearOutput(nn.Module):
    """One of the maps that run as one, as the module that transformers' own forward asks for."""

    def __init__(self, shared: "FusedLinear", index: int) -> None:
        super().__init__()
        self.shared, self.index = shared, index

    def forward(self, states: Tensor) -> Tensor:
        return self.shared(states, self.index)


class FusedLinear:
    """Runs a map of several modules once where they are asked for the same input one after the other.

    What the others are still to ask for waits in the thread that asked, so threads and copies of a model share it.
    """

    def __init__(self, whole: LoweredLinear, sizes: list[int]) -> None:
        self.whole, self.sizes = whole, sizes
        self._waiting = threading.local()

    def __call__(self, states: Tensor, index: int) -> Tensor:
        waiting = self._waiting.__dict__
        if waiting.get("states") is not states or index not in waiting["outputs"]:
            outputs = torch.split(_mapped(self.whole, states), self.sizes, dim=-1)
            waiting.update(states=states, outputs=dict(enumerate(outputs)))
        found: Tensor = waiting["outputs"].pop(index)
        if not waiting["outputs"]:
            waiting.clear()
        return found

    def __deepcopy__(self, memo: Any) -> "FusedLinear":
        return self


def linear_modules(whole: LoweredLinear, sizes: list[int]) -> list[nn.Module]:
    """A module for each of the maps that were packed as one.

    Parameters
    ----------
    sizes : outputs of each
    """
    if len(sizes) == 1:
        return [LinearModule(whole)]
    shared = FusedLinear(whole, sizes)
    return [FusedLinearOutput(shared, index) for index in range(len(sizes))]


def _mapped(whole: LoweredLinear, states: Tensor) -> Tensor:
    return whole(states.flatten(0, -2)).view(*states.shape[:-1], -1)


class AddNorm:
    """A linear map, its residual and the norm after them."""

    def __init__(self, dense: LoweredLinear, norm: nn.LayerNorm) -> None:
        self.dense = dense
        self.norm = (norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def __call__(self, rows: Tensor, residual: Tensor) -> Tensor:
        return torch.layer_norm(self.dense(rows).add_(residual), *self.norm)


@dataclass
class LoweredLayer:
    """The parts of a lowered layer with the norm after each block, without the modules that stand around them.

    Fifteen module calls a layer are a tenth of a pass over one short text; these are plain calls.
    """

    states: QKVLinear
    inner: LoweredLinear
    activation: nn.Module
    project: AddNorm
    outer: AddNorm

    def feed_forward(self, rows: Tensor) -> Tensor:
        """Feed-forward block with its residual and norm."""
        return self.outer(self.activation(self.inner(rows)), rows)
