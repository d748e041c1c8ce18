"""What stands in a lowered model: the parts of its layers as plain calls, and modules for transformers' own forward."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from latadj.devices.precision_probe import attention_product
from latadj.kernels.linear import KernelSpec, outputs_of
from latadj.kernels.lowered_linear import LoweredLinear, first_rows

# From this many rows, attention beside int8 layers runs in bf16 where that pays; for fewer, fp32's kernel is fast.
BF16_ATTENTION_FROM = 96


class QKVLinear:
    """Query, key and value layers of an attention block, run as one; the query apart where only some rows need it.

    Parameters
    ----------
    modules : query, key and value layer, or one that is all three
    """

    def __init__(self, spec: KernelSpec, *modules: nn.Linear | Conv1D, separate_query: bool = False) -> None:
        self.query = spec.pack(modules[0]) if separate_query else None
        together = modules[1:] if separate_query else modules
        self.together, self.sizes = spec.pack(*together), outputs_of(*together)
        self.casts = spec.precision == "int8" and attention_product(torch.device("cpu")).bf16_pays

    def __call__(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        """Queries of ``query_rows`` (None: of ``rows``), keys and values."""
        dtype = torch.bfloat16 if self.casts and len(rows) >= BF16_ATTENTION_FROM else None
        states = self.together(rows, dtype).split_with_sizes(self.sizes, dim=-1)
        return (
            states if self.query is None else (self.query(rows if query_rows is None else query_rows, dtype), *states)
        )

    def modules(self) -> list[nn.Module]:
        """A module each for query, key and value, as transformers' own forward calls them."""
        modules = linear_modules(self.together, self.sizes)
        return modules if self.query is None else [LinearModule(self.query), *modules]


class LinearModule(nn.Module):
    """A linear layer as the module that transformers' own forward calls."""

    # T5 looks at the type of a weight, where there is one.
    weight = None

    def __init__(self, linear: LoweredLinear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, states: Tensor) -> Tensor:
        return _run(self.linear, states)


class FusedLinearOutput(nn.Module):
    """One of the layers that run as one, as the module that transformers' own forward calls."""

    def __init__(self, shared: "FusedLinear", index: int) -> None:
        super().__init__()
        self.shared, self.index = shared, index

    def forward(self, states: Tensor) -> Tensor:
        return self.shared(states, self.index)


class FusedLinear:
    """Runs what several modules became once where they are called with the same input one after the other.

    The outputs of those that are still to be called wait in the calling thread, so threads and copies of a model share
    it.
    """

    def __init__(self, linear: LoweredLinear, sizes: list[int]) -> None:
        self.linear, self.sizes = linear, sizes
        self._waiting = threading.local()

    def __call__(self, states: Tensor, index: int) -> Tensor:
        waiting = self._waiting.__dict__
        if waiting.get("states") is not states or index not in waiting["outputs"]:
            outputs = torch.split(_run(self.linear, states), self.sizes, dim=-1)
            waiting.update(states=states, outputs=dict(enumerate(outputs)))
        output: Tensor = waiting["outputs"].pop(index)
        if not waiting["outputs"]:
            waiting.clear()
        return output

    def __deepcopy__(self, memo: Any) -> "FusedLinear":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FusedLinear, (self.linear, self.sizes)


def linear_modules(linear: LoweredLinear, sizes: list[int]) -> list[nn.Module]:
    """A module for each of the layers that were packed as one.

    Parameters
    ----------
    sizes : outputs of each
    """
    if len(sizes) == 1:
        return [LinearModule(linear)]
    shared = FusedLinear(linear, sizes)
    return [FusedLinearOutput(shared, index) for index in range(len(sizes))]


def _run(linear: LoweredLinear, states: Tensor) -> Tensor:
    return linear(states.flatten(0, -2)).view(*states.shape[:-1], -1)


class AddNorm:
    """A linear layer, its residual and the norm after them; rows that stand behind the residual's are left out."""

    def __init__(self, linear: LoweredLinear, norm: nn.LayerNorm) -> None:
        self.linear = linear
        self.norm = (norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def __call__(self, rows: Tensor, residual: Tensor) -> Tensor:
        return torch.layer_norm(first_rows(self.linear(rows), len(residual)).add_(residual), *self.norm)


@dataclass
class PostNormLayer:
    """The parts of a lowered layer with the norm after each block.

    They are :class:`~latadj.elimination.architectures.layer_parts.LayerParts`. Fifteen module calls a layer are a tenth
    of a pass over one short text; these are plain calls.

    inner, activation : as in :class:`PreNormLayer`
    """

    qkv: QKVLinear
    project: AddNorm
    inner: LoweredLinear
    activation: nn.Module
    outer: AddNorm
    gated: bool = False

    def feed_forward(self, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual and norm."""
        states = self.inner(self.inner.padded(attended))
        return self.outer(_activated(states, self.activation, self.gated), attended)


@dataclass
class PreNormLayer:
    """The parts of a lowered layer with the norm before each block, as plain calls.

    pieces : queries, keys and values of a token
    inner : the layer to the inner width; of a gated block gate and up layer side by side
    activation : run after ``inner``, on the gate if there is one
    added_norms : of what the attention block and the feed-forward block add, or none
    """

    first_norm: Any
    states: QKVLinear
    pieces: list[int]
    output: LoweredLinear
    second_norm: Any
    inner: LoweredLinear
    activation: Any
    outer: LoweredLinear
    gated: bool = False
    added_norms: Sequence[Any] = ()

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        """Queries of ``query_rows`` (None, or where the query layer is not apart: of ``rows``), keys and values."""
        if len(self.states.sizes) == 1:
            return self.states(self.first_norm(rows), None)[0].split_with_sizes(self.pieces, dim=-1)
        return self.states(self.first_norm(rows), None if query_rows is None else self.first_norm(query_rows))

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        """Output layer of the attention block, and its residual."""
        return self._added(0, self.output(context)).add_(residual)

    def feed_forward(self, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual."""
        states = self.inner(self.inner.padded(self.second_norm(attended)))
        outer = self.outer(_activated(states, self.activation, self.gated))
        return self._added(1, first_rows(outer, len(attended))).add_(attended)

    def _added(self, block: int, states: Tensor) -> Tensor:
        """What a block adds, given what its last layer gives."""
        if not self.added_norms:
            return states
        normed: Tensor = self.added_norms[block](states)
        return normed


def _activated(states: Tensor, activation: Any, gated: bool) -> Tensor:
    """What enters the layer back to the model's width; gate and up side by side are overwritten."""
    if not gated:
        activated: Tensor = activation(states)
        return activated
    gate, up = states.chunk(2, dim=-1)
    product: Tensor = activation(gate).mul_(up)
    return product
