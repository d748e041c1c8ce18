"""A precision and its kernel, and how linear modules are laid out for it; for inference only.

The weights of one or several linear modules become one. Nothing of it is a parameter: a lowered model cannot be
trained or saved, see :mod:`latadj.kernels.lowering`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures.base import weight_of
from latadj.kernels.int8_linear import DynamicInt8Linear, Int8Linear
from latadj.kernels.lowered_linear import (
    FUSED_ACTIVATIONS,
    EmptyLinear,
    LoweredLinear,
    PackedLinear,
    PlainLinear,
    RowScaledLinear,
)

# The type of the states beside the linear layers of each precision.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}


@dataclass(frozen=True)
class KernelSpec:
    """A precision and the kernel that runs it.

    precision : ``fp32``, ``bf16`` or ``int8``
    kernel : ``plain`` (``nn.Linear``), ``onednn`` (packed weights), or an engine of PyTorch's older dynamic int8
    """

    precision: str
    kernel: str

    def pack(self, *modules: nn.Linear | Conv1D, activation: str | None = None, uneven: bool = False) -> LoweredLinear:
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
