"""Lowered layers with the norm before each block, and the modules around them that transformers' own forward runs."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from latadj.kernels.linear import KernelSpec, LoweredLinear, outputs_of
from latadj.kernels.lowered import LinearModule, QKVLinear, linear_modules


def lowered_norm(norm: Any) -> Any:
    """A norm in one call, where transformers' root-mean-square takes seven: of a few rows, those are the time."""
    if not hasattr(norm, "variance_epsilon"):
        return norm
    found = nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon, device="meta")
    found.weight = norm.weight
    return found


def lowered_activation(activation: Any) -> Any:
    """What an activation computes, in one call."""
    return nn.GELU(approximate="tanh") if type(activation).__name__ == "NewGELUActivation" else activation


@dataclass
class FeedForward:
    """The maps of a feed-forward block, gated or not.

    inner : the map to the inner width; of a gated block gate and up map side by side
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
    route: KernelSpec, block: Any, inner: tuple[str, ...], outer: str, activation: str
) -> FeedForward:
    """Put a route's maps in the place of a feed-forward block's own.

    Parameters
    ----------
    inner : names of the maps to the inner width in the block: gate and up, or one
    outer, activation : names of the map back, and of the activation
    """
    gated, act = len(inner) > 1, getattr(block, activation)
    fused = None if gated or not route.fuses(type(act).__name__) else type(act).__name__
    act = nn.Identity() if fused else lowered_activation(act)
    maps = [getattr(block, name) for name in inner]
    # What enters the outer map is thousands of times as large for a text's first token as for others.
    found = FeedForward(route.pack(*maps, activation=fused), act, route.pack(getattr(block, outer), uneven=True), gated)
    for name, part in zip(inner, linear_modules(found.inner, outputs_of(*maps)), strict=True):
        setattr(block, name, part)
    setattr(block, outer, LinearModule(found.outer))
    setattr(block, activation, act)
    return found


def lower_head(model: Any, route: KernelSpec) -> None:
    """Put a route's map in the place of a language model's head; an embedding that shared its weights keeps them."""
    head = getattr(model, "lm_head", None)
    if isinstance(head, nn.Linear):
        model.lm_head = LinearModule(route.pack(head))


@dataclass
class PreNormLayer:
    """The parts of a lowered layer with the norm before each block, as plain calls."""

    first_norm: Any
    states: QKVLinear
    output: LoweredLinear
    second_norm: Any
    block: FeedForward

    def attend(self, rows: Tensor, asking: Tensor | None = None) -> tuple[Tensor, ...]:
        """Queries of ``asking`` (None: of ``rows``), keys and values."""
        return self.states(self.first_norm(rows), None if asking is None else self.first_norm(asking))

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        """Output map of the attention block, and its residual."""
        return self.output(context).add_(residual)

    def feed_forward(self, rows: Tensor) -> Tensor:
        """Feed-forward block with its residual."""
        return self.block(self.second_norm(rows)).add_(rows)
