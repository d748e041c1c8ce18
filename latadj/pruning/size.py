"""What a model weighs."""

from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.families import layers_of


def parameters(model: PreTrainedModel) -> int:
    """Parameters outside the embeddings, and outside an output layer that shares theirs."""
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in embeddings)


def layer_parameters(model: PreTrainedModel) -> list[int]:
    """Parameters of each layer in which word-vectors are eliminated."""
    return [sum(weight.numel() for weight in layer.parameters()) for layer in layers_of(model)]
