"""The units that pruning can remove from a model, from coarse to fine: blocks, heads and groups of neurons."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.layer_structure import LayerStructure
from latadj.pruning.surgery import remaining_structure

# Kind of a whole block -> kind of the units inside it.
BLOCKS = {"attention": "head", "feed_forward": "neurons"}


@dataclass(frozen=True)
class PruningUnit:
    """Something that can be removed from a layer; all numbers are those of the model before pruning.

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
        what = self.kind.replace("_", "-") if self.index is None else f"{self.kind} {self.index + 1}"
        return f"layer {self.layer + 1} {what}"

    @property
    def block(self) -> str:
        """The kind of the block that it is, or is in."""
        return "attention" if self.kind in ("attention", "head") else "feed_forward"

    def contains(self, other: "PruningUnit") -> bool:
        """Whether it is a block and ``other`` one of its heads or groups of neurons."""
        return self.layer == other.layer and BLOCKS.get(self.kind) == other.kind

    def removed_from(self, structure: LayerStructure) -> LayerStructure:
        """The structure of its layer without it."""
        gone = set(structure.neurons) if self.kind == "feed_forward" else set(self.neurons)
        heads = structure.heads if self.kind != "attention" else ()
        return LayerStructure(
            tuple(head for head in heads if self.kind != "head" or head != self.index),
            tuple(neuron for neuron in structure.neurons if neuron not in gone),
            structure.of_heads,
            structure.of_neurons,
        )

    def is_in(self, structure: LayerStructure) -> bool:
        """Whether any of it is left in its layer."""
        return self.removed_from(structure) != structure


def units_of(
    model: PreTrainedModel,
    groups: int = 8,
    ranks: Sequence[Tensor] | None = None,
    *,
    layers: Collection[int] | None = None,
) -> list[PruningUnit]:
    """All units that are left in a model: blocks first, then heads and groups of neurons, by rising layer.

    Parameters
    ----------
    groups : of feed-forward neurons in each layer
    ranks : how much each neuron of each layer matters, (neurons of the layer before pruning,); neurons that matter
        alike make a group, the least first. None: neighbours do
    layers : numbers, from 1, of those that are pruned; None: all

    Raises
    ------
    ValueError
        if there are more groups than neurons, or none, or there is no such layer.
    """
    check_units(model, groups, layers)
    structures = [
        (layer, structure)
        for layer, structure in enumerate(remaining_structure(model))
        if layers is None or layer + 1 in layers
    ]
    blocks = [
        PruningUnit(kind, layer)
        for layer, structure in structures
        for kind, inside in (("attention", structure.heads), ("feed_forward", structure.neurons))
        if inside
    ]
    heads = [PruningUnit("head", layer, head) for layer, structure in structures for head in structure.heads]
    neurons = [
        PruningUnit("neurons", layer, index, members)
        for layer, structure in structures
        for index, members in enumerate(_groups_of(structure, groups, None if ranks is None else ranks[layer]))
    ]
    return blocks + heads + neurons


def check_units(
    model: PreTrainedModel, groups: int, layers: Collection[int] | None = None, *, prefix: str = ""
) -> None:
    """Refuse the options that :func:`units_of` would refuse, at no cost.

    Raises
    ------
    ValueError
        naming the parameter, after ``prefix``.
    """
    structures = remaining_structure(model)
    if layers is not None and not set(layers) <= set(range(1, len(structures) + 1)):
        shown = ",".join(str(layer) for layer in sorted(layers))
        raise ValueError(f"{prefix}layers=[{shown}]: expected some of the model's layers 1 to {len(structures)}")
    for number, structure in enumerate(structures, start=1):
        neurons = len(structure.neurons)
        if neurons and (layers is None or number in layers) and not 1 <= groups <= neurons:
            raise ValueError(f"{prefix}groups={groups}: expected from 1 to the {neurons} neurons of a layer")


def _groups_of(structure: LayerStructure, groups: int, rank: Tensor | None = None) -> list[tuple[int, ...]]:
    """The remaining neurons of a layer in groups of like size; parameters as in :func:`units_of`."""
    if not structure.neurons:
        return []
    order = torch.tensor(structure.neurons)
    if rank is not None:
        order = order[rank[order].argsort(stable=True)]
    return [tuple(sorted(group.tolist())) for group in order.tensor_split(groups)]


class Significance:
    """Gradient times activation, added up over batches.

    Removing a head (or a neuron) removes its columns of the output (or outer) map, so the sum of weight times
    gradient over a column is the first-order change of the loss: the same as gradient times activation, without hooks.
    Signs cancel within a batch and not between batches.

    heads, neurons : of each layer, (heads or neurons of the layer before pruning,); 0 for those that are removed
    """

    def __init__(self, model: PreTrainedModel) -> None:
        structures = remaining_structure(model)
        self.heads = [torch.zeros(structure.of_heads) for structure in structures]
        self.neurons = [torch.zeros(structure.of_neurons) for structure in structures]

    @torch.no_grad()
    def add(self, model: PreTrainedModel) -> None:
        """Add the gradients that the weights hold now."""
        architecture = architecture_of(model)
        for index, (layer, structure) in enumerate(zip(layers_of(model), remaining_structure(model), strict=True)):
            paths = architecture.paths(layer)
            for path, remaining, size, sums in (
                (paths.output, structure.heads, architecture.head_widths(layer)[0], self.heads[index]),
                (paths.outer, structure.neurons, 1, self.neurons[index]),
            ):
                linear = attrgetter(path)(layer)
                if not remaining or linear.weight.grad is None:
                    continue
                product = (linear.weight * linear.weight.grad).float()
                columns = product.sum(dim=1 if isinstance(linear, Conv1D) else 0).cpu()
                sums[list(remaining)] += columns.view(len(remaining), size).sum(dim=1).abs()

    def of(self, unit: PruningUnit) -> float:
        """The significance of a head, or of a group of neurons: the sum over them."""
        if unit.kind == "head":
            return float(self.heads[unit.layer][unit.index])
        return float(self.neurons[unit.layer][list(unit.neurons)].sum())
