"""The parts of a lowered layer as plain calls, with the norms after its blocks or before them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latadj.kernels.fused_linear import QKVLinear
from latadj.kernels.linear import LoweredLinear


class AddNorm:
    """A linear layer, its residual and the norm after them."""

    def __init__(self, linear: LoweredLinear, norm: nn.LayerNorm) -> None:
        self.linear = linear
        self.norm = (norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def __call__(self, rows: Tensor, residual: Tensor) -> Tensor:
        return torch.layer_norm(self.linear(rows).add_(residual), *self.norm)


@dataclass
class PostNormLayer:
    """The parts of a lowered layer with the norm after each block.

    They are :class:`~latadj.elimination.architectures.base.LayerParts`. Fifteen module calls a layer are a tenth of a
    pass over one short text; these are plain calls.
    """

    qkv: QKVLinear
    project: AddNorm
    inner: LoweredLinear
    activation: nn.Module
    outer: AddNorm

    def feed_forward(self, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual and norm."""
        return self.outer(self.activation(self.inner(attended)), attended)


@dataclass
class PreNormLayer:
    """The parts of a lowered layer with the norm before each block, as plain calls.

    inner : the layer to the inner width; of a gated block gate and up layer side by side
    activation : run after ``inner``, on the gate if there is one
    """

    first_norm: Any
    states: QKVLinear
    output: LoweredLinear
    second_norm: Any
    inner: LoweredLinear
    activation: Any
    outer: LoweredLinear
    gated: bool = False

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        """Queries of ``query_rows`` (None, or where the query layer is not apart: of ``rows``), keys and values."""
        if len(self.states.sizes) == 1:
            return self.states(self.first_norm(rows), None)[0].chunk(3, dim=-1)
        return self.states(self.first_norm(rows), None if query_rows is None else self.first_norm(query_rows))

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        """Output layer of the attention block, and its residual."""
        return self.output(context).add_(residual)

    def feed_forward(self, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual."""
        states = self.inner(self.second_norm(attended))
        if self.gated:
            gate, up = states.chunk(2, dim=-1)
            return self.outer(self.activation(gate).mul_(up)).add_(attended)
        return self.outer(self.activation(states)).add_(attended)
