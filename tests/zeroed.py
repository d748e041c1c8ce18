"""The reference: a whole model in which what was removed is zero."""

from operator import attrgetter

import torch
from transformers.pytorch_utils import Conv1D

from latadj.elimination.families import family_of, layers_of


@torch.no_grad()
def zeroed(model, parts):
    """Set to zero what parts add to a model's hidden states."""
    for part in parts:
        layer = layers_of(model)[part.layer]
        anatomy = family_of(model).anatomy(layer)
        whole = attrgetter(anatomy.output if part.block == "attention" else anatomy.outer)(layer)
        weight = whole.weight.T if isinstance(whole, Conv1D) else whole.weight
        if part.kind == "head":
            weight[:, part.index * anatomy.head_inputs : (part.index + 1) * anatomy.head_inputs] = 0
        elif part.kind == "neurons":
            weight[:, list(part.neurons)] = 0
        else:
            weight.zero_()
            if whole.bias is not None:
                whole.bias.zero_()
    return model
