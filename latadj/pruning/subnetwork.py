"""Cuts a model down to a level: what the level does not use is removed from its weights, and its list of layers."""

from operator import attrgetter

from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of, layer_shapes, layers_of
from latadj.elimination.cost import shapes_at
from latadj.elimination.levels import Level
from latadj.elimination.narrowing import forget_narrowed
from latadj.pruning.surgery import remaining_structure, remove
from latadj.pruning.units import PruningUnit


def cut_to_level(model: PreTrainedModel, level: Level) -> list[int]:
    """Remove all that a level does not use, in place and for good; the model computes what it computed at the level.

    Parameters
    ----------
    model : with nothing attached

    Returns
    -------
    numbers of the layers that are left, counted from 0. A layer that the level leaves out is among them, without its
    blocks, where the layers after it need it at its place.

    Raises
    ------
    ValueError
        if the architecture is unknown, the model was lowered for serving, or it has fewer heads or neurons.
    """
    shapes_at(layer_shapes(model), level)
    architecture = architecture_of(model)
    staying = architecture.staying(architecture.base(model))
    kept = [layer for layer in range(level.layers) if layer in staying or not level.leaves_out(layer)]
    units = []
    for layer, structure in enumerate(remaining_structure(model)):
        if layer not in kept:
            continue
        units += [PruningUnit("head", layer, head) for head in structure.heads[level.heads[layer] :]]
        if neurons := structure.neurons[level.neurons[layer] :]:
            units.append(PruningUnit("neurons", layer, 0, neurons))
    remove(model, units)
    _keep_layers(model, kept)
    return kept


def _keep_layers(model: PreTrainedModel, kept: list[int]) -> None:
    """Shorten a model's list of layers, and what its config says of them."""
    architecture = architecture_of(model)
    base, layers = architecture.base(model), layers_of(model)
    owner, _, name = architecture.layer_list.rpartition(".")
    setattr(attrgetter(owner)(base) if owner else base, name, nn.ModuleList(layers[number] for number in kept))
    for place, layer in enumerate(layers_of(model)):
        forget_narrowed(layer)
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place
    # The encoder of an encoder-decoder has a config of its own.
    for config in (model.config, base.config):
        types = getattr(config, "layer_types", None)
        if types is not None and len(types) == len(layers):
            config.layer_types = [types[number] for number in kept]
        config.num_hidden_layers = len(kept)
