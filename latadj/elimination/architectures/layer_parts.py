"""What of a layer runs before and after its attention: its own modules, or what a kernel puts in their place."""

from abc import abstractmethod
from typing import Any, Protocol

from torch import Tensor

_REGISTERED = "_latadj_parts"


class LayerParts(Protocol):
    """What runs before and after the attention of one layer; its attention is elimination's own.

    A kernel library implements it, and puts it on a layer by :func:`register_parts`.
    """

    @abstractmethod
    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        """Project to queries, keys and values, with the norm that stands before them, if one does.

        Parameters
        ----------
        rows : (tokens, width) what enters the layer
        query_rows : (batch, width) the pooled token of each sequence, where it alone needs a context; None: all do

        Returns
        -------
        (tokens, features) each; the queries (batch, features) where ``query_rows`` are given and the query layer stands
        apart
        """

    @abstractmethod
    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        """Output map of the attention block, its residual and norm: two (rows, width) to one."""

    @abstractmethod
    def feed_forward(self, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual and norm: (rows, width) to the same."""


class OwnParts(LayerParts):
    """The parts of a layer by its own modules, where nothing is registered on it."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer


def register_parts(layer: Any, parts: LayerParts) -> None:
    """Run a layer by these parts from now on; a copy of the layer takes a copy of them along."""
    layer.__dict__[_REGISTERED] = parts


def registered_parts(layer: Any) -> LayerParts | None:
    """The parts that were registered on a layer, if any."""
    parts: LayerParts | None = layer.__dict__.get(_REGISTERED)
    return parts
