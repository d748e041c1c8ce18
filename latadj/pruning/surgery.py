"""Takes heads and neurons out of a layer's weight matrices, and whole blocks out of a layer.

A head leaves the query, key and value maps and the columns of the output map; a neuron leaves the inner maps and a
column of the outer one. What is left computes what the whole layer computes with those columns at zero. A block that
was removed adds nothing, not even its bias; the last head or neuron takes its block along.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import Architecture, architecture_of, layers_of
from latadj.elimination.architectures.pruned_forward import shadow
from latadj.elimination.layer_structure import (
    STRUCTURE,
    LayerStructure,
    ModelStructure,
    PrunablePaths,
    layer_structure_of,
)
from latadj.kernels.linear import weight_of
from latadj.kernels.lowering import is_lowered

if TYPE_CHECKING:
    from latadj.pruning.units import PruningUnit


def structure_of(model: PreTrainedModel) -> ModelStructure | None:
    """The pruning map of a model; None if nothing was removed from it."""
    if all(layer_structure_of(module) is None for module in model.modules()):  # of whatever architecture
        return None
    structure = ModelStructure(tuple(remaining_structure(model)))
    return None if structure.is_whole else structure


def remaining_structure(model: PreTrainedModel) -> list[LayerStructure]:
    """What is left of each layer of a model.

    Raises
    ------
    ValueError
        if the architecture is unknown, or the model was lowered for serving.
    """
    architecture = architecture_of(model)
    if is_lowered(model):
        raise ValueError("this model was lowered for serving and cannot be pruned: load it again without precision=")
    return [layer_structure_of(layer) or whole(architecture, layer) for layer in layers_of(model)]


def whole(architecture: Architecture, layer: Any) -> LayerStructure:
    """All that there is in a layer which was not pruned."""
    anatomy = architecture.prunable_paths(layer)
    output, outer = (weight_of(attrgetter(path)(layer)) for path in (anatomy.output, anatomy.outer))
    return LayerStructure.whole(output.shape[1] // anatomy.head_inputs, outer.shape[1])


def remove(model: PreTrainedModel, parts: Sequence["PruningUnit"]) -> None:
    """Take parts out of a model's weights, in place and for good.

    Raises
    ------
    ValueError
        if the architecture is unknown, or the model was lowered for serving.
    """
    _leave(model, _without(model, parts))


@contextmanager
def without(model: PreTrainedModel, parts: Sequence["PruningUnit"]) -> Iterator[PreTrainedModel]:
    """The model without some parts inside a ``with`` block; afterwards it has its own modules again.

    Not for threads: the model itself is changed. Raises as :func:`remove`.
    """
    undo = _leave(model, _without(model, parts))
    try:
        yield model
    finally:
        for back in reversed(undo):
            back()


def apply(model: PreTrainedModel, structure: ModelStructure) -> None:
    """Give a whole model the shapes of a pruned one, in place; its weights are those of the parts that are left.

    Raises
    ------
    ValueError
        if the pruning map is of another model, or the model is pruned already.
    """
    before = remaining_structure(model)
    if not all(left.is_whole for left in before):
        raise ValueError("this model is pruned already")
    sizes = [(left.of_heads, left.of_neurons) for left in before]
    wanted = [(left.of_heads, left.of_neurons) for left in structure.layers]
    if sizes != wanted:
        raise ValueError(
            f"this pruning map is of a model of {len(wanted)} layers with {wanted[0] if wanted else (0, 0)} heads and "
            f"neurons; the model has {len(sizes)} with {sizes[0]}"
        )
    _leave(model, dict(enumerate(structure.layers)))


def _without(model: PreTrainedModel, parts: Sequence["PruningUnit"]) -> dict[int, LayerStructure]:
    lefts, found = remaining_structure(model), dict[int, LayerStructure]()
    for part in parts:
        found[part.layer] = part.out_of(found.get(part.layer, lefts[part.layer]))
    return found


def _leave(model: PreTrainedModel, wanted: dict[int, LayerStructure]) -> list[Callable[[], None]]:
    """Cut layers down to what is wanted; returns what undoes it, to be called from the last to the first."""
    architecture, layers = architecture_of(model), layers_of(model)
    before = remaining_structure(model)
    return [_cut(architecture, layers[index], before[index], left) for index, left in wanted.items()]


def _cut(architecture: Architecture, layer: Any, before: LayerStructure, after: LayerStructure) -> Callable[[], None]:
    """Cut one layer down; returns what undoes it."""
    anatomy, had = architecture.prunable_paths(layer), layer_structure_of(layer)
    block = attrgetter(anatomy.block)(layer)
    replaced: dict[str, nn.Module] = {}
    if after.heads != before.heads:
        replaced |= _cut_heads(layer, anatomy, [before.heads.index(head) for head in after.heads], len(before.heads))
    if after.neurons != before.neurons:
        place = {neuron: index for index, neuron in enumerate(before.neurons)}
        replaced |= _cut_neurons(layer, anatomy, [place[neuron] for neuron in after.neurons])
    old = {path: attrgetter(path)(layer) for path in replaced}

    def settle(modules: dict[str, nn.Module], left: LayerStructure | None, heads: int) -> None:
        for path, module in modules.items():
            layer.set_submodule(path, module)
        for module in (layer, block):
            if left is None:
                module.__dict__.pop(STRUCTURE, None)
            else:
                module.__dict__[STRUCTURE] = left
        architecture.resize(layer, heads)
        shadow(block, architecture.pruned_forward(layer))

    settle(replaced, after, len(after.heads))
    return lambda: settle(old, had, len(before.heads))


def _cut_heads(layer: Any, anatomy: PrunablePaths, kept: Sequence[int], of: int) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {
        path: _sliced(attrgetter(path)(layer), rows, outputs=True)
        for path, rows in zip(anatomy.states, state_rows(anatomy, kept, of), strict=True)
    }
    output = attrgetter(anatomy.output)(layer)
    found[anatomy.output] = _sliced(output, members(kept, anatomy.head_inputs), outputs=False)
    return found


def _cut_neurons(layer: Any, anatomy: PrunablePaths, kept: list[int]) -> dict[str, nn.Module]:
    rows = torch.tensor(kept, dtype=torch.long)
    found: dict[str, nn.Module] = {path: _sliced(attrgetter(path)(layer), rows, outputs=True) for path in anatomy.inner}
    found[anatomy.outer] = _sliced(attrgetter(anatomy.outer)(layer), rows, outputs=False)
    return found


def members(kept: Sequence[int], size: int) -> Tensor:
    """Rows of the heads that are kept, ``size`` to each: (heads * size,)."""
    return (torch.tensor(kept, dtype=torch.long)[:, None] * size + torch.arange(size)).flatten()


def state_rows(anatomy: PrunablePaths, kept: Sequence[int], of: int) -> list[Tensor]:
    """Outputs of the heads that are kept, of so many, in each of a layer's query, key and value maps."""
    return [
        torch.cat([members(kept, size) + piece * of * size for piece in range(anatomy.pieces)])
        for size in anatomy.per_head
    ]


def _sliced(part: nn.Linear | Conv1D, kept: Tensor, *, outputs: bool) -> nn.Linear | Conv1D:
    """A map with some of its outputs (or inputs) only; without any, a map without bias."""
    turned = isinstance(part, Conv1D)
    kept = kept.to(part.weight.device)
    dimension = int(outputs == turned)
    weight = part.weight.detach().index_select(dimension, kept)
    if len(kept) == 0:
        # Nothing is left, so the bias goes too; a plain map, since GPT-2's always has one.
        return _linear(weight.T if turned else weight, None, part)
    bias = None if part.bias is None else part.bias.detach().clone()
    if bias is not None and outputs:
        bias = bias[kept]
    if bias is None or not turned:
        return _linear(weight, bias, part)
    found = Conv1D(weight.shape[1], weight.shape[0])
    trains = part.weight.requires_grad
    found.weight, found.bias = nn.Parameter(weight, trains), nn.Parameter(bias, trains)
    return found.train(part.training)


def _linear(weight: Tensor, bias: Tensor | None, like: nn.Module) -> nn.Linear:
    found = nn.Linear(1, 1, bias=bias is not None, device="meta")  # of its size, it would warn that nothing is in it
    found.out_features, found.in_features = weight.shape
    trains = bool(like.weight.requires_grad)
    found.weight = nn.Parameter(weight.contiguous(), trains)
    if bias is not None:
        found.bias = nn.Parameter(bias, trains)
    return found.train(like.training)
