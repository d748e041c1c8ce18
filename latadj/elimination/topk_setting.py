"""Top-k attention as a model's property: to how many keys a query of each layer attends.

Needs no torch, so that a checkpoint's file is read without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# All keys, so many of them, or such a share of those that a query may see.
TopK = int | float | None
# More than any sequence has.
MOST_KEYS = 2**31


@dataclass(frozen=True)
class TopKAttention:
    """For each layer the number of keys that a query attends to: those with the largest products.

    A share is of the keys that the query may see in that layer, rounded up: of an encoder the sequence's own real
    tokens that enter the layer, of a decoder those up to the query. So how a text goes on changes nothing before
    it, and decoding from a cache selects what one pass over all tokens selects.

    No FLOPs are saved: which keys are largest is known only after all products, and dense products of the
    probabilities with the values are quicker than picking rows. ``latadj.elimination.cost`` counts such a layer as any
    other.

    Parameters
    ----------
    layers : one entry a layer: None (full attention), an integer >= 1, or a share in (0, 1]

    Raises
    ------
    ValueError
        naming the layer whose entry is none of these.
    """

    layers: tuple[TopK, ...]

    def __post_init__(self) -> None:
        for number, k in enumerate(self.layers, start=1):
            if k is not None:
                check_topk(k, f"top-k attention of layer {number}")

    @classmethod
    def full(cls, layers: int) -> "TopKAttention":
        """Full attention in every layer: all queries attend to all keys that they see."""
        return cls((None,) * layers)

    @property
    def selects(self) -> bool:
        """Whether any layer selects keys."""
        return any(k is not None for k in self.layers)

    def at(self, layer: int, k: TopK) -> "TopKAttention":
        """The same with another entry for one layer."""
        return TopKAttention((*self.layers[:layer], k, *self.layers[layer + 1 :]))

    def text(self) -> str:
        """Its layers that select keys, counted from 1, for people."""
        return ", ".join(
            f"layer {number}: {_text(k)}" for number, k in enumerate(self.layers, start=1) if k is not None
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
            raise ValueError("topk_attention: expected a list with an entry for each layer")
        return cls(tuple(data))


def check_topk(k: Any, name: str) -> None:
    """Refuse what is no number of keys.

    Raises
    ------
    ValueError
        beginning with ``name``.
    """
    if isinstance(k, int) and not isinstance(k, bool) and 1 <= k <= MOST_KEYS:
        return
    if not isinstance(k, float) or not 0 < k <= 1:
        raise ValueError(f"{name}, k={k!r}: expected an integer >= 1, or a share in (0, 1] such as 0.25")


def _text(k: int | float) -> str:
    return f"{100 * k:g}% of the keys" if isinstance(k, float) else f"{k} key{'s' if k > 1 else ''}"
