"""The weight of a linear module, whichever way round the module keeps it."""

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def weight_of(module: nn.Linear | Conv1D) -> Tensor:
    """Weight of a linear module, (out, in); GPT-2 keeps it the other way round."""
    weight = module.weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight
