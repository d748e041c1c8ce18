"""Where a layer keeps its modules, and what is left of a pruned model's layers. Needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from latadj.utils.serialization import Bounds, Entries, structure

# Where a pruned layer and its attention module keep what is left of the layer.
STRUCTURE = "_latadj_structure"
# Far more than a layer has had so far: a file that says more is damaged, and would be expanded into all memory.
MOST = 2**20
# Neurons of all layers together: the largest models so far have 7 million.
MOST_NEURONS = 2**23


@dataclass(frozen=True)
class LayerStructure:
    """What is left of one layer, by numbers of the layer as it was.

    heads : attention heads; with grouped-query attention key/value heads, each with all its queries. None are left
        of a layer whose attention block was removed.
    neurons : feed-forward neurons; none are left of a layer whose feed-forward block was removed
    of_heads, of_neurons : how many there were
    """

    heads: tuple[int, ...]
    neurons: tuple[int, ...]
    of_heads: int
    of_neurons: int

    @classmethod
    def whole(cls, heads: int, neurons: int) -> "LayerStructure":
        """A layer of which nothing was removed."""
        return cls(tuple(range(heads)), tuple(range(neurons)), heads, neurons)

    @property
    def is_whole(self) -> bool:
        return len(self.heads) == self.of_heads and len(self.neurons) == self.of_neurons


@dataclass(frozen=True)
class ModelStructure:
    """The pruning map of a model: what is left of each layer."""

    layers: tuple[LayerStructure, ...]

    @property
    def is_whole(self) -> bool:
        return all(layer.is_whole for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        return {
            "layers": [
                {
                    "heads": list(layer.heads),
                    "of_heads": layer.of_heads,
                    "neurons": ranges(layer.neurons),
                    "of_neurons": layer.of_neurons,
                }
                for layer in self.layers
            ]
        }

    @classmethod
    def from_json(cls, data: Any) -> "ModelStructure":
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ValueError
            if a field is missing, of the wrong kind, or names what was never there.
        """
        saved_layers = structure(_SavedMap, data).layers
        if (neurons := sum(saved.of_neurons for saved in saved_layers)) > MOST_NEURONS:
            raise ValueError(f"{neurons:,} neurons in all layers: expected at most {MOST_NEURONS:,}")
        layers = tuple(
            LayerStructure(tuple(saved.heads), saved.numbers(), saved.of_heads, saved.of_neurons)
            for saved in saved_layers
        )
        for number, layer in enumerate(layers):
            for what, numbers, before in (
                ("heads", layer.heads, layer.of_heads),
                ("neurons", layer.neurons, layer.of_neurons),
            ):
                if any(after <= before for before, after in pairwise((-1, *numbers))) or (
                    numbers and numbers[-1] >= before
                ):
                    raise ValueError(f"{what} of layer {number + 1} are not rising numbers below {before}")
        return cls(layers)


# Of heads or neurons.
_Count = Annotated[int, Bounds(0, MOST)]


@dataclass(frozen=True)
class _SavedLayer:
    """A layer as a file holds it; neurons as [start, stop) pairs."""

    heads: Annotated[list[_Count], Entries(MOST)]
    of_heads: _Count
    neurons: Annotated[list[tuple[_Count, _Count]], Entries(MOST)]
    of_neurons: _Count

    def numbers(self) -> tuple[int, ...]:
        """The neurons: inverse of :func:`ranges`, which makes no number that could not be one of them."""
        numbers: list[int] = []
        for start, stop in self.neurons:
            if not start < stop <= self.of_neurons or len(numbers) > self.of_neurons:
                raise ValueError(f"[{start}, {stop}) is no part of {self.of_neurons} neurons")
            numbers += range(start, stop)
        return tuple(numbers)


@dataclass(frozen=True)
class _SavedMap:
    layers: Annotated[list[_SavedLayer], Entries(2**10, 1)]


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Rising numbers as [start, stop) pairs."""
    pairs: list[list[int]] = []
    for number in numbers:
        if pairs and pairs[-1][1] == number:
            pairs[-1][1] += 1
        else:
            pairs.append([number, number + 1])
    return pairs


@dataclass(frozen=True)
class LayerPaths:
    """Where a layer keeps its linear layers and what stands between them: paths of submodules below the layer.

    states : linear layers of queries, keys and values, or one whose outputs are all three, one after the other
    output : the linear layer after attention, whose inputs are heads
    inner : linear layers whose outputs are feed-forward neurons: one, or gate and up layer
    inner_pieces : into how many equal parts the outputs of each divide: 2 where one is gate and up layer
    activation : after ``inner``, on the gate if there is one
    outer : the linear layer whose inputs are feed-forward neurons
    norms : the norms of the attention block and of the feed-forward block
    positions : linear layers whose outputs are heads too, and whose inputs are positions instead of tokens
    added_norms : the norms of what each of the two adds to its residual; none where it adds what its last layer gives
    """

    states: tuple[str, ...]
    output: str
    inner: tuple[str, ...]
    activation: str
    outer: str
    norms: tuple[str, str]
    inner_pieces: int = 1
    positions: tuple[str, ...] = ()
    added_norms: tuple[str, ...] = ()

    def headed(self, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The linear layers whose outputs are heads, and how many a head has in each of their pieces.

        Parameters
        ----------
        widths : queries, keys and values that a head has; of what goes by positions it has as many as of queries
        """
        together = len(self.states) == 1
        of_states = [tuple(widths)] if together else [(width,) for width in widths]
        return dict(zip(self.states, of_states, strict=True)) | dict.fromkeys(self.positions, (widths[0],))

    @property
    def gated(self) -> bool:
        """Whether each neuron has a gate."""
        return len(self.inner) * self.inner_pieces > 1


def layer_structure_of(module: Any) -> LayerStructure | None:
    """What is left of a pruned layer, or of the layer of an attention module; None where nothing was pruned."""
    structure: LayerStructure | None = module.__dict__.get(STRUCTURE)
    return structure


def attends(module: Any) -> bool:
    """Whether a layer, or its attention module, has heads."""
    structure = layer_structure_of(module)
    return structure is None or bool(structure.heads)
