"""Removes heads and neurons from a layer's weight matrices, and whole blocks from a layer.

A head leaves the query, key and value maps and the columns of the output map; a neuron leaves the inner maps and a
column of the outer one. The rest computes what the whole layer computes with those columns at zero. A removed block
adds nothing, not even its bias; the last head or neuron takes its block along.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import Architecture, architecture_of, layers_of, refuse_shared_weights
from latadj.elimination.architectures.base import weight_of
from latadj.elimination.architectures.layer_parts import registered_parts
from latadj.elimination.architectures.pruned_forward import shadow
from latadj.elimination.layer_structure import (
    STRUCTURE,
    LayerPaths,
    LayerStructure,
    ModelStructure,
    layer_structure_of,
)
from latadj.elimination.narrowing import forget_narrowed, structure_of_layer

if TYPE_CHECKING:
    from latadj.pruning.units import PruningUnit
import copy

from latadj.elimination.attach import is_attached, topk_attention_of


def structure_of(model: PreTrainedModel) -> ModelStructure | None:
    """The pruning map of a model; None if nothing was removed from it."""
    if all(layer_structure_of(module) is None for module in model.modules()):  # of whatever architecture
        return None
    structure = ModelStructure(tuple(remaining_structure(model)))
    return None if structure.is_whole else structure


def remaining_structure(model: PreTrainedModel) -> list[LayerStructure]:
    """The structure of each layer of a model: its remaining heads and neurons.

    Raises
    ------
    ValueError
        if the architecture is unknown, its layers share their weights, or the model was lowered for serving.
    """
    architecture = architecture_of(model)
    refuse_shared_weights(architecture, type(model).__name__)
    if any(registered_parts(layer) is not None for layer in layers_of(model)):
        raise ValueError("this model was lowered for serving and cannot be pruned: load it again without precision=")
    return [structure_of_layer(architecture, layer) for layer in layers_of(model)]


def parameter_count(model: PreTrainedModel) -> int:
    """Parameters outside the embeddings, and outside an output layer that shares theirs."""
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in embeddings)


def remove(model: PreTrainedModel, units: Sequence["PruningUnit"]) -> None:
    """Remove units from a model's weights, in place and for good.

    Raises
    ------
    ValueError
        if the architecture is unknown, or the model was lowered for serving.
    """
    _restructure(model, _without(model, units))


@contextmanager
def without(model: PreTrainedModel, units: Sequence["PruningUnit"]) -> Iterator[PreTrainedModel]:
    """The model without some units inside a ``with`` block; afterwards it has its own modules again.

    Not for threads: the model itself is changed. Raises as :func:`remove`.
    """
    undo = _restructure(model, _without(model, units))
    try:
        yield model
    finally:
        for restore in reversed(undo):
            restore()


def apply(model: PreTrainedModel, structure: ModelStructure) -> None:
    """Give a whole model the shapes of a pruned one, in place; its weights are those of the remaining units.

    Raises
    ------
    ValueError
        if the pruning map is of another model, or the model is pruned already.
    """
    before = remaining_structure(model)
    if not all(layer.is_whole for layer in before):
        raise ValueError("this model is pruned already")
    sizes = [(layer.of_heads, layer.of_neurons) for layer in before]
    expected = [(layer.of_heads, layer.of_neurons) for layer in structure.layers]
    if sizes != expected:
        raise ValueError(
            f"this pruning map is of a model of {len(expected)} layers with {expected[0] if expected else (0, 0)} "
            f"heads and neurons; the model has {len(sizes)} with {sizes[0]}"
        )
    _restructure(model, dict(enumerate(structure.layers)))


def _without(model: PreTrainedModel, units: Sequence["PruningUnit"]) -> dict[int, LayerStructure]:
    before, after = remaining_structure(model), dict[int, LayerStructure]()
    for unit in units:
        after[unit.layer] = unit.removed_from(after.get(unit.layer, before[unit.layer]))
    return after


def _restructure(model: PreTrainedModel, structures: dict[int, LayerStructure]) -> list[Callable[[], None]]:
    """Slice layers to their new structures; returns what undoes it, to be called from the last to the first."""
    architecture, layers = architecture_of(model), layers_of(model)
    before = remaining_structure(model)
    return [_slice_layer(architecture, layers[index], before[index], after) for index, after in structures.items()]


def _slice_layer(
    architecture: Architecture, layer: Any, before: LayerStructure, after: LayerStructure
) -> Callable[[], None]:
    """Slice one layer to its new structure; returns what undoes it."""
    paths, widths = architecture.paths(layer), architecture.head_widths(layer)
    block, recorded = architecture.attention_block(layer), layer_structure_of(layer)
    sliced: dict[str, nn.Module] = {}
    if after.heads != before.heads:
        kept = [before.heads.index(head) for head in after.heads]
        for path, rows in state_rows(paths, widths, kept, len(before.heads)).items():
            sliced[path] = _sliced(layer, path, rows, outputs=True)
        sliced[paths.output] = _sliced(layer, paths.output, head_rows(kept, widths[0]), outputs=False)
    if after.neurons != before.neurons:
        index_of = {neuron: index for index, neuron in enumerate(before.neurons)}
        neurons = torch.tensor([index_of[neuron] for neuron in after.neurons], dtype=torch.long)
        inner = neuron_rows(paths, neurons, len(before.neurons))
        sliced |= {path: _sliced(layer, path, inner, outputs=True) for path in paths.inner}
        sliced[paths.outer] = _sliced(layer, paths.outer, neurons, outputs=False)
    whole = {path: attrgetter(path)(layer) for path in sliced}

    def install(modules: dict[str, nn.Module], structure: LayerStructure | None, heads: int) -> None:
        forget_narrowed(layer)
        for path, module in modules.items():
            layer.set_submodule(path, module)
        for module in (layer, block):
            if structure is None:
                module.__dict__.pop(STRUCTURE, None)
            else:
                module.__dict__[STRUCTURE] = structure
        architecture.resize(layer, heads)
        shadow(block, architecture.pruned_forward(layer))

    install(sliced, after, len(after.heads))
    return lambda: install(whole, recorded, len(before.heads))


def head_rows(heads: Sequence[int], size: int) -> Tensor:
    """Rows of some heads, ``size`` to each: (heads * size,)."""
    return (torch.tensor(heads, dtype=torch.long)[:, None] * size + torch.arange(size)).flatten()


def state_rows(paths: LayerPaths, widths: Sequence[int], heads: Sequence[int], of: int) -> dict[str, Tensor]:
    """Outputs of some heads, of so many, in each of a layer's linear layers whose outputs are heads, by their paths."""
    return {
        path: torch.cat([head_rows(heads, size) + of * sum(own[:piece]) for piece, size in enumerate(own)])
        for path, own in paths.headed(widths).items()
    }


def neuron_rows(paths: LayerPaths, neurons: Tensor, of: int) -> Tensor:
    """Outputs of some neurons, of so many, in each of a layer's inner maps."""
    return torch.cat([neurons + piece * of for piece in range(paths.inner_pieces)])


def _sliced(layer: nn.Module, path: str, index: Tensor, *, outputs: bool) -> nn.Linear | Conv1D:
    """A linear map of a layer with some of its outputs (or inputs) only; without any, a map without bias."""
    linear = attrgetter(path)(layer)
    transposed = isinstance(linear, Conv1D)
    index = index.to(linear.weight.device)
    weight = linear.weight.detach().index_select(int(outputs == transposed), index)
    trains = bool(linear.weight.requires_grad)
    bias = None if linear.bias is None or not len(index) else linear.bias.detach().clone()
    if bias is not None and outputs:
        bias = bias[index]
    result: nn.Linear | Conv1D
    if transposed and bias is not None:
        result = Conv1D(weight.shape[1], weight.shape[0])
    else:
        # Without a bias it is a plain linear map, since GPT-2's always has one. Built with no size: with its own, an
        # empty one would warn.
        weight = (weight.T if transposed else weight).contiguous()
        result = nn.Linear(1, 1, bias=bias is not None, device="meta")
        result.out_features, result.in_features = weight.shape
    result.weight = nn.Parameter(weight, trains)
    if bias is not None:
        result.bias = nn.Parameter(bias, trains)
    return result.train(linear.training)


@torch.no_grad()
def zero_fill_pruned(model: PreTrainedModel) -> PreTrainedModel:
    """A whole model that computes what a pruned one computes: what was removed is there again, as zeros.

    It loads in plain transformers and any other program, and is as large and as slow as before pruning.

    Raises
    ------
    ValueError
        if the architecture is unknown, the model was lowered for serving, or it has top-k attention, which no other
        program has.
    """
    if is_attached(model) and (topk := topk_attention_of(model)) is not None:
        raise ValueError(
            f"zero_fill_pruned: this model has top-k attention ({topk.text()}), which plain transformers does not "
            "compute; prune without topk_attention.k"
        )
    structures = remaining_structure(model)
    architecture = architecture_of(model)
    whole = type(model)(copy.deepcopy(model.config)).to(model.dtype).to(model.device).eval()
    if model.can_generate():
        whole.generation_config = copy.deepcopy(model.generation_config)
    shapes = {name: weight.shape for name, weight in whole.state_dict().items()}
    unpruned = {name: weight for name, weight in model.state_dict().items() if shapes.get(name) == weight.shape}
    whole.load_state_dict(unpruned, strict=False)
    for layer, source, structure in zip(layers_of(whole), layers_of(model), structures, strict=True):
        paths, widths = architecture.paths(layer), architecture.head_widths(layer)
        for path, rows in state_rows(paths, widths, structure.heads, structure.of_heads).items():
            _fill(layer, source, path, rows, outputs=True)
        _fill(layer, source, paths.output, head_rows(structure.heads, widths[0]), outputs=False)
        neurons = torch.tensor(structure.neurons, dtype=torch.long)
        for path in paths.inner:
            _fill(layer, source, path, neuron_rows(paths, neurons, structure.of_neurons), outputs=True)
        _fill(layer, source, paths.outer, neurons, outputs=False)
    return whole


def _fill(layer: nn.Module, source: nn.Module, path: str, index: Tensor, *, outputs: bool) -> None:
    """Copy the weights of a pruned linear map to their places in a whole one; all others become zero."""
    target, pruned = attrgetter(path)(layer), attrgetter(path)(source)
    weight_of(target).zero_()
    if target.bias is not None:
        target.bias.zero_()
    if not len(index):
        return
    where = (index,) if outputs else (slice(None), index)
    weight_of(target)[where] = weight_of(pruned)
    if target.bias is not None:
        target.bias[index if outputs else slice(None)] = pruned.bias
