"""The architectures that can eliminate: one class each, told apart by ``config.model_type``."""

from typing import Any

from transformers import PreTrainedModel

from latadj.elimination.architectures.albert import Albert
from latadj.elimination.architectures.base import Architecture
from latadj.elimination.architectures.deberta import DebertaV2
from latadj.elimination.architectures.encoders import Bert, DistilBert
from latadj.elimination.architectures.gemma3 import Gemma3
from latadj.elimination.architectures.gpt2 import Gpt2
from latadj.elimination.architectures.llama import Llama
from latadj.elimination.architectures.modernbert import ModernBert
from latadj.elimination.architectures.mpnet import MPNet
from latadj.elimination.architectures.nomic_bert import NomicBert
from latadj.elimination.architectures.phi3 import Phi3
from latadj.elimination.architectures.t5 import T5
from latadj.elimination.cost import LayerShape
from latadj.elimination.model_types import unsupported

ARCHITECTURES: tuple[Architecture, ...] = (
    Bert(),
    DistilBert(),
    Albert(),
    ModernBert(),
    MPNet(),
    DebertaV2(),
    NomicBert(),
    Gpt2(),
    Llama(),
    Phi3(),
    Gemma3(),
    T5(),
)

__all__ = ["ARCHITECTURES", "Architecture", "architecture_of", "distinct_layers", "layer_shapes", "layers_of"]


def architecture_of(model: Any) -> Architecture:
    """The architecture of a model.

    Raises
    ------
    ValueError
        if no architecture handles the model's type.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    for architecture in ARCHITECTURES:
        if model_type in architecture.model_types:
            return architecture
    raise ValueError(unsupported(model_type))


def layers_of(model: PreTrainedModel) -> list[Any]:
    """The layers of a model in which tokens are eliminated, in order; one that runs again stands there again."""
    architecture = architecture_of(model)
    return list(architecture.layers(architecture.base(model)))


def distinct_layers(model: PreTrainedModel) -> list[Any]:
    """The layers of a model, each once however often it runs."""
    return list(dict.fromkeys(layers_of(model)))


def refuse_shared_weights(architecture: Architecture, name: str) -> None:
    """Refuse to take heads or neurons from some layers of a model whose layers share their weights.

    Parameters
    ----------
    name : of the class of the model, or of its layers

    Raises
    ------
    ValueError
    """
    if architecture.shares_weights:
        raise ValueError(
            f"{name}: its layers share their weights, so that no layer can have fewer heads or neurons than another: "
            "turn its dial over tokens alone (adjust.axes=[tokens]), without pruning"
        )


def layer_shapes(model: PreTrainedModel) -> tuple[LayerShape, ...]:
    """Shapes of the linear layers of each layer of a model."""
    architecture = architecture_of(model)
    return tuple(architecture.shape(layer) for layer in layers_of(model))
