"""Lowered layers with the norm before each block, and what stands around them."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from latadj.kernels.fused_linear import LinearModule, QKVLinear, linear_modules
from latadj.kernels.linear import KernelSpec, LoweredLinear, outputs_of


def lowered_norm(norm: Any) -> Any:
    """A norm in one call, where transformers' root-mean-square takes seven: of a few rows, those are the time."""
    if not hasattr(norm, "variance_epsilon"):
        return norm
    lowered = nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon, device="meta")
    lowered.weight = norm.weight
    return lowered


def lowered_activation(activation: Any) -> Any:
    """What an activation computes, in one call."""
    return nn.GELU(approximate="tanh") if type(activation).__name__ == "NewGELUActivation" else activation


@dataclass
class FeedForward:
    """The linear layers of a feed-forward block, gated or not.

    inner : the layer to the inner width; of a gated block gate and up layer side by side
    activation : run after ``inner``, on the gate if there is one
    """

    inner: LoweredLinear
    activation: Any
    outer: LoweredLinear
    gated: bool = False

    def __call__(self, rows: Tensor) -> Tensor:
        states = self.inner(rows)
        if self.gated:
            gate, up = states.chunk(2, dim=-1)
            return self.outer(self.activation(gate).mul_(up))
        return self.outer(self.activation(states))


def lower_feed_forward(
    spec: KernelSpec, block: Any, inner: tuple[str, ...], outer: str, activation: str
) -> FeedForward:
    """Put lowered layers in the place of a feed-forward block's own.

    Parameters
    ----------
    inner : names of the layers to the inner width in the block: gate and up, or one
    outer, activation : names of the layer back, and of the activation
    """
    gated, act = len(inner) > 1, getattr(block, activation)
    fused = None if gated or not spec.fuses(type(act).__name__) else type(act).__name__
    act = nn.Identity() if fused else lowered_activation(act)
    modules = [getattr(block, name) for name in inner]
    # What enters the outer layer is thousands of times as large for a text's first token as for others.
    packed, back = spec.pack(*modules, activation=fused), spec.pack(getattr(block, outer), uneven=True)
    for name, module in zip(inner, linear_modules(packed, outputs_of(*modules)), strict=True):
        setattr(block, name, module)
    setattr(block, outer, LinearModule(back))
    setattr(block, activation, act)
    return FeedForward(packed, act, back, gated)


def lower_head(model: Any, spec: KernelSpec) -> None:
    """Put a lowered layer in the place of a language model's head; an embedding that shared its weights keeps them."""
    head = getattr(model, "lm_head", None)
    if isinstance(head, nn.Linear):
        model.lm_head = LinearModule(spec.pack(head))


@dataclass
class PreNormLayer:
    """The parts of a lowered layer with the norm before each block, as plain calls."""

    first_norm: Any
    states: QKVLinear
    output: LoweredLinear
    second_norm: Any
    block: FeedForward

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        """Queries of ``query_rows`` (None, or where one layer computes all three: of ``rows``), keys and values."""
        if len(self.states.sizes) == 1:
            return self.states(self.first_norm(rows), None)[0].chunk(3, dim=-1)
        return self.states(self.first_norm(rows), None if query_rows is None else self.first_norm(query_rows))

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        """Output layer of the attention block, and its residual."""
        return self.output(context).add_(residual)

    def feed_forward(self, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual."""
        return self.block(self.second_norm(attended)).add_(attended)
