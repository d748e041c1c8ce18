"""What is left of a pruned model's layers, and where a layer keeps what can be pruned. Needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# Where a pruned layer and its attention module keep what is left of the layer.
LEFT = "_latadj_left"


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
    def from_json(cls, data: dict[str, Any]) -> "ModelStructure":
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ValueError
            if a field is missing, of the wrong kind, or names what was never there.
        """
        try:
            layers = tuple(
                LayerStructure(
                    tuple(int(head) for head in layer["heads"]),
                    tuple(neuron for start, stop in layer["neurons"] for neuron in range(start, stop)),
                    int(layer["of_heads"]),
                    int(layer["of_neurons"]),
                )
                for layer in data["layers"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a pruning map: {error}") from error
        for number, layer in enumerate(layers):
            for what, found, most in (
                ("heads", layer.heads, layer.of_heads),
                ("neurons", layer.neurons, layer.of_neurons),
            ):
                if any(after <= before for before, after in pairwise((-1, *found))) or (found and found[-1] >= most):
                    raise ValueError(
                        f"not a pruning map: {what} of layer {number + 1} are not rising numbers below {most}"
                    )
        return cls(layers)


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Rising numbers as [start, stop) pairs."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] += 1
        else:
            found.append([number, number + 1])
    return found


@dataclass(frozen=True)
class PrunablePaths:
    """Where a layer keeps what can be pruned: paths of submodules below the layer.

    block : the attention module
    states : maps whose outputs are heads: queries, keys and values, or one for all
    per_head : outputs that a head has in each of them
    pieces : how many such maps lie side by side in each of ``states``
    output : the map whose inputs are heads
    head_inputs : inputs that a head has in it
    inner : maps whose outputs are feed-forward neurons
    outer : the map whose inputs are feed-forward neurons
    """

    block: str
    states: tuple[str, ...]
    per_head: tuple[int, ...]
    output: str
    head_inputs: int
    inner: tuple[str, ...]
    outer: str
    pieces: int = 1


def layer_structure_of(module: Any) -> LayerStructure | None:
    """What is left of a pruned layer, or of the layer of an attention module; None where nothing was pruned."""
    found: LayerStructure | None = module.__dict__.get(LEFT)
    return found


def attends(module: Any) -> bool:
    """Whether a layer, or its attention module, has heads."""
    left = layer_structure_of(module)
    return left is None or bool(left.heads)


def held(keep: Sequence[float], attending: Sequence[bool]) -> tuple[float, ...]:
    """Keep ratios where only some layers have attention to choose by: a layer without keeps what entered it.

    What a profile cuts there is cut by the next layer that has attention.
    """
    found, before = [], 1.0
    for ratio, has in zip(keep, attending, strict=True):
        before = ratio if has else before
        found.append(before)
    return tuple(found)
