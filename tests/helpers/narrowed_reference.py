"""Models built small: what a model at a level is to compute, made by pruning and by leaving layers out of its list."""

from operator import attrgetter

import transformers as tf
from torch import nn

from latadj.elimination.architectures import architecture_of, layer_shapes, layers_of
from latadj.elimination.levels import Level
from latadj.pruning import PruningUnit, remove


def level_of(model: tf.PreTrainedModel, shares: list[float]) -> Level:
    """The level at which each layer uses this share of its heads and neurons, rounded up."""
    shapes = layer_shapes(model)
    return Level(
        tuple(-int(-share * shape.heads // 1) for share, shape in zip(shares, shapes, strict=True)),
        tuple(-int(-share * shape.neurons // 1) for share, shape in zip(shares, shapes, strict=True)),
    )


def built_small(model: tf.PreTrainedModel, level: Level) -> tf.PreTrainedModel:
    """The model with what a level does not use removed from its weights, in place."""
    shapes, units = layer_shapes(model), []
    for layer, (shape, heads, neurons) in enumerate(zip(shapes, level.heads, level.neurons, strict=True)):
        if level.leaves_out(layer):
            continue
        units += [PruningUnit("head", layer, head) for head in range(heads, shape.heads)]
        if neurons < shape.neurons:
            units.append(PruningUnit("neurons", layer, 0, tuple(range(neurons, shape.neurons))))
    remove(model, units)
    architecture = architecture_of(model)
    base = architecture.base(model)
    kept = [layer for number, layer in enumerate(layers_of(model)) if not level.leaves_out(number)]
    owner, _, name = architecture.layer_list.rpartition(".")
    setattr(attrgetter(owner)(base) if owner else base, name, nn.ModuleList(kept))
    for number, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number
    if types := getattr(model.config, "layer_types", None):
        model.config.layer_types = [kind for number, kind in enumerate(types) if not level.leaves_out(number)]
    model.config.num_hidden_layers = len(kept)
    return model


def without_left_out(keep: tuple[float, ...], level: Level) -> tuple[float, ...]:
    """The keep ratios of the layers that a level does not leave out, where those keep what entered them."""
    return tuple(ratio for layer, ratio in enumerate(keep) if not level.leaves_out(layer))
