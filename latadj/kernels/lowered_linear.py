"""Linear layers of rows, their weights laid out for the kernel that runs them, in the type of the states."""

from typing import Any

import torch
from torch import Tensor, nn

from latadj.elimination.kernel_rows import kernel_rows

# Run inside the linear layer by the oneDNN kernel, by the name transformers gives the activation's class.
FUSED_ACTIVATIONS = {"GELUActivation": ("gelu", "none"), "NewGELUActivation": ("gelu", "tanh")}
# A row of nothing but zeros has this size.
TINY = 1e-20


class LoweredLinear:
    """A linear layer of rows, (rows, in) to (rows, out). Nothing changes it any more, so copies of a model share it."""

    def __call__(self, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Run it; ``dtype`` is the output's, that of the rows if None."""
        raise NotImplementedError

    def padded(self, rows: Tensor) -> Tensor:
        """The rows, and behind them zeros up to a number of rows for which there is a kernel, where that pays.

        What runs on these first need not pad again what comes of them, which is four times as wide.
        """
        return rows

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
        outputs = torch.ops.mkldnn._linear_pointwise.default(
            self.padded(rows), self.weight, self.bias, kind, [], variant
        )
        return first_rows(outputs, len(rows))

    def padded(self, rows: Tensor) -> Tensor:
        return padded_rows(rows)


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


def padded_rows(rows: Tensor) -> Tensor:
    """The rows, and behind them zeros up to a number of rows for which there is a kernel."""
    spare = kernel_rows(len(rows)) - len(rows)
    return nn.functional.pad(rows, (0, 0, 0, spare)) if spare else rows


def first_rows(rows: Tensor, count: int) -> Tensor:
    """The first so many rows, without those that stand behind them for a kernel."""
    return rows if len(rows) == count else rows[:count]
