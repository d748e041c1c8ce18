"""What can be taken out of a model, from coarse to fine."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.layer_structure import LayerStructure
from latadj.pruning.surgery import remaining_structure

_BLOCKS = {"attention": "attention", "feed_forward": "feed-forward"}


@dataclass(frozen=True)
class PruningUnit:
    """Something that can be taken out of a layer; all numbers are those of the model as it was before pruning.

    kind : ``attention`` or ``feed_forward`` (a whole block), ``head`` (with grouped-query attention a key/value head
        and all its queries) or ``neurons`` (a group of feed-forward neurons)
    layer : from 0
    index : of the head, or of the group of neurons
    neurons : those of a group
    """

    kind: str
    layer: int
    index: int | None = None
    neurons: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Such as ``layer 3 head 5``; layers and what is in them count from 1."""
        what = _BLOCKS[self.kind] if self.index is None else f"{self.kind} {self.index + 1}"
        return f"layer {self.layer + 1} {what}"

    @property
    def block(self) -> str:
        """The kind of the block that it is, or is in."""
        return "attention" if self.kind in ("attention", "head") else "feed_forward"

    def out_of(self, left: LayerStructure) -> LayerStructure:
        """What is left of its layer without it."""
        heads = (
            () if self.kind == "attention" else tuple(h for h in left.heads if self.kind != "head" or h != self.index)
        )
        gone = set(left.neurons) if self.kind == "feed_forward" else set(self.neurons)
        neurons = tuple(neuron for neuron in left.neurons if neuron not in gone)
        return LayerStructure(heads, neurons, left.of_heads, left.of_neurons)

    def is_in(self, left: LayerStructure) -> bool:
        """Whether any of it is left in its layer."""
        return self.out_of(left) != left


def units_of(
    model: PreTrainedModel,
    groups: int = 8,
    ranks: Sequence[Tensor] | None = None,
    *,
    layers: Collection[int] | None = None,
) -> list[PruningUnit]:
    """All parts that are left in a model: blocks first, then heads and groups of neurons, by rising layer.

    Parameters
    ----------
    groups : of feed-forward neurons in each layer
    layers : numbers, from 1, of those whose parts are wanted; None: all
    ranks : how much each neuron of each layer matters, (neurons that the layer once had,); neurons that matter alike
        make a group then, the least first. None: neighbours do.

    Raises
    ------
    ValueError
        if there are more groups than neurons, or none, or there is no such layer.
    """
    every = remaining_structure(model)
    check_units(model, groups, layers)
    lefts = [(layer, left) for layer, left in enumerate(every) if layers is None or layer + 1 in layers]
    blocks = [
        PruningUnit(kind, layer)
        for layer, left in lefts
        for kind, has in (("attention", left.heads), ("feed_forward", left.neurons))
        if has
    ]
    heads = [PruningUnit("head", layer, head) for layer, left in lefts for head in left.heads]
    neurons = [
        PruningUnit("neurons", layer, index, members)
        for layer, left in lefts
        for index, members in enumerate(_groups_of(left, groups, None if ranks is None else ranks[layer]))
    ]
    return blocks + heads + neurons


def check_units(
    model: PreTrainedModel, groups: int, layers: Collection[int] | None = None, *, prefix: str = ""
) -> None:
    """Refuse what :func:`units_of` would refuse, of which it costs nothing to know.

    Raises
    ------
    ValueError
        naming the parameter, after ``prefix``.
    """
    lefts = remaining_structure(model)
    if layers is not None and not set(layers) <= set(range(1, len(lefts) + 1)):
        shown = ",".join(str(layer) for layer in sorted(layers))
        raise ValueError(f"{prefix}layers=[{shown}]: expected some of the model's layers 1 to {len(lefts)}")
    for number, left in enumerate(lefts, start=1):
        if left.neurons and (layers is None or number in layers) and not 1 <= groups <= len(left.neurons):
            raise ValueError(f"{prefix}groups={groups}: expected from 1 to the {len(left.neurons)} neurons of a layer")


def _groups_of(left: LayerStructure, groups: int, rank: Tensor | None = None) -> list[tuple[int, ...]]:
    """The neurons that are left of a layer in groups of like size; parameters as in :func:`units_of`."""
    if not left.neurons:
        return []
    order = torch.tensor(left.neurons)
    if rank is not None:
        order = order[rank[order].argsort(stable=True)]
    return [tuple(sorted(part.tolist())) for part in order.tensor_split(groups)]
