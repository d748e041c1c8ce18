"""Levels: how many attention heads and feed-forward neurons each layer uses. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from latadj.elimination.layer_structure import MOST
from latadj.utils.serialization import Bounds, Entries

# Far more layers than any model has.
MOST_LAYERS = 1024
# Into how many groups a layer's neurons divide: kernels like widths that are multiples of a large number.
NEURON_GROUPS = 24
Counts = Annotated[tuple[Annotated[int, Bounds(0, MOST)], ...], Entries(MOST_LAYERS, 1)]


@dataclass(frozen=True)
class Level:
    """The width of each layer of a model whose heads and neurons are in the order of their significance.

    A layer uses its first heads and its first neurons. One without either is left out: what enters it leaves it. The
    last layer is never left out, since the head reads it: without either its blocks are gone, and its norms run.

    heads : of each layer; with grouped-query attention key/value heads, each with all its queries
    neurons : of each layer

    Raises
    ------
    ValueError
        if there are numbers for different layers, or one is below 0.
    """

    heads: Counts
    neurons: Counts

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple(int(count) for count in self.heads))
        object.__setattr__(self, "neurons", tuple(int(count) for count in self.neurons))
        if len(self.heads) != len(self.neurons) or not self.heads:
            raise ValueError(f"a level with heads of {len(self.heads)} layers and neurons of {len(self.neurons)}")
        if min(*self.heads, *self.neurons) < 0:
            raise ValueError(
                f"a level with heads={list(self.heads)}, neurons={list(self.neurons)}: expected at least 0"
            )

    @property
    def layers(self) -> int:
        return len(self.heads)

    def leaves_out(self, layer: int) -> bool:
        """Whether a layer, counted from 0, does not run at all."""
        return not self.heads[layer] and not self.neurons[layer] and layer < self.layers - 1

    def scaled(self, heads: Sequence[float], neurons: Sequence[float]) -> "Level":
        """The level at which each layer uses a share of what it uses here, in whole heads and groups of neurons.

        Parameters
        ----------
        heads, neurons : shares of each layer, from 0 to 1
        """
        return Level(
            tuple(_share(share, count, 1) for share, count in zip(heads, self.heads, strict=True)),
            tuple(
                _share(share, count, count // NEURON_GROUPS) for share, count in zip(neurons, self.neurons, strict=True)
            ),
        )

    def contains(self, other: "Level") -> bool:
        """Whether another level uses no more than this one in any layer."""
        return all(
            mine >= theirs
            for mine, theirs in zip((*self.heads, *self.neurons), (*other.heads, *other.neurons), strict=True)
        )


def _share(share: float, count: int, step: int) -> int:
    """A share of a count, in steps: at least one step, but 0 for a share of 0."""
    step = max(step, 1)
    return min(count, max(round(share * count / step), 1) * step) if share else 0
