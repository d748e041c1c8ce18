"""Selective hard attention as a model's property: to how many keys a query of each layer attends.

Needs no torch, so that a checkpoint's file is read without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# All keys, so many of them, or such a share of those that a query may see.
TopK = int | float | None


@dataclass(frozen=True)
class TopKAttention:
    """For each layer the most keys that a query attends to: its strongest ones.

    A share is of the keys that the query may see in that layer, rounded up: of an encoder the sequence's own real
    tokens that enter the layer, of a decoder those up to the query. So how a text goes on changes nothing before
    it, and decoding from a cache selects what one pass over all tokens selects.

    No FLOPs are saved: which keys are strongest is known only after all products, and dense products of the
    probabilities with the values are quicker than picking rows. ``latadj.elimination.cost`` counts a hard layer as any
    other.

    Parameters
    ----------
    layers : one entry a layer: None (ordinary attention), an integer >= 1, or a share in (0, 1]

    Raises
    ------
    ValueError
        naming the layer whose entry is none of these.
    """

    layers: tuple[TopK, ...]

    def __post_init__(self) -> None:
        for number, most in enumerate(self.layers, start=1):
            if most is not None:
                check_topk(most, f"hard attention of layer {number}")

    @classmethod
    def soft(cls, layers: int) -> "TopKAttention":
        """Ordinary attention in every layer."""
        return cls((None,) * layers)

    @property
    def selects(self) -> bool:
        """Whether any layer is hard."""
        return any(most is not None for most in self.layers)

    def at(self, layer: int, most: TopK) -> "TopKAttention":
        """The same with another entry for one layer."""
        return TopKAttention((*self.layers[:layer], most, *self.layers[layer + 1 :]))

    def text(self) -> str:
        """Its hard layers, counted from 1, for people."""
        return ", ".join(
            f"layer {number}: {_said(most)}" for number, most in enumerate(self.layers, start=1) if most is not None
        )

    def to_json(self) -> list[TopK]:
        return list(self.layers)

    @classmethod
    def from_json(cls, data: Any) -> "TopKAttention":
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ValueError
            if it is not a list of such entries.
        """
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise ValueError(f"topk_attention={data!r}: expected a list with an entry for each layer")
        return cls(tuple(data))


def check_topk(most: Any, name: str) -> None:
    """Refuse what is no number of keys.

    Raises
    ------
    ValueError
        beginning with ``name``.
    """
    if isinstance(most, int) and not isinstance(most, bool) and most >= 1:
        return
    if not isinstance(most, float) or not 0 < most <= 1:
        raise ValueError(f"{name}, k={most!r}: expected an integer >= 1, or a share in (0, 1] such as 0.25")


def _said(most: int | float) -> str:
    if isinstance(most, float):
        return f"{100 * most:g}% of the keys"
    return f"{most} key{'s' if most > 1 else ''}"
