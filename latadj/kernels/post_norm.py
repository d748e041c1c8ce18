"""Lowered layers with the norm after each block."""

from dataclasses import dataclass

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
    """The parts of a lowered layer with the norm after each block: :class:`~latadj.elimination.layer_parts.LayerParts`.

    Fifteen module calls a layer are a tenth of a pass over one short text; these are plain calls.
    """

    qkv: QKVLinear
    project: AddNorm
    inner: LoweredLinear
    activation: nn.Module
    outer: AddNorm

    def feed_forward(self, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual and norm."""
        return self.outer(self.activation(self.inner(attended)), attended)
