"""Parameters and FLOPs of a model."""

from collections.abc import Sequence

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.cost import LayerShape, flops


def parameters(model: PreTrainedModel) -> int:
    """Parameters outside the embeddings, and outside an output layer that shares theirs."""
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in embeddings)


def mean_flops(shapes: Sequence[LayerShape], lengths: np.ndarray, reads: str) -> float:
    """FLOPs of the mean text where nothing is eliminated; parameters as in `latadj.elimination.cost.flops`."""
    return float(np.mean(flops(shapes, [1.0] * len(shapes), lengths, reads)))
