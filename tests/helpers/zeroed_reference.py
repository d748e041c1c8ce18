"""Parts to take out of the tiny models, and the reference: a whole model in which they are zero."""

from operator import attrgetter

import torch
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.pruning import PruningUnit

# Of every kind, and a layer that loses both blocks.
SOME = [
    PruningUnit("head", 0, 1),
    PruningUnit("neurons", 0, 0, tuple(range(0, 64, 3))),
    PruningUnit("feed_forward", 1),
    PruningUnit("attention", 2),
    PruningUnit("neurons", 2, 0, (5, 6, 40)),
    PruningUnit("attention", 3),
    PruningUnit("feed_forward", 3),
]
FIRST = [PruningUnit("attention", 0), PruningUnit("head", 1, 0), PruningUnit("head", 3, 1)]


@torch.no_grad()
def zeroed(model, units):
    """Set to zero what units add to a model's hidden states."""
    for unit in units:
        layer = layers_of(model)[unit.layer]
        paths, width = architecture_of(model).paths(layer), architecture_of(model).head_widths(layer)[0]
        whole = attrgetter(paths.output if unit.block == "attention" else paths.outer)(layer)
        weight = whole.weight.T if isinstance(whole, Conv1D) else whole.weight
        if unit.kind == "head":
            weight[:, unit.index * width : (unit.index + 1) * width] = 0
        elif unit.kind == "neurons":
            weight[:, list(unit.neurons)] = 0
        else:
            weight.zero_()
            if whole.bias is not None:
                whole.bias.zero_()
    return model
