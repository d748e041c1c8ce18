"""The model families that can eliminate: one class each, told apart by ``config.model_type``."""

from typing import Any

from transformers import PreTrainedModel

from latadj.elimination.cost import LayerShape
from latadj.elimination.families.base import Family
from latadj.elimination.families.encoders import Bert, DistilBert
from latadj.elimination.families.gpt2 import Gpt2
from latadj.elimination.families.llama import Llama
from latadj.elimination.families.t5 import T5

FAMILIES: tuple[Family, ...] = (Bert(), DistilBert(), Gpt2(), Llama(), T5())

__all__ = ["FAMILIES", "Family", "family_of", "layer_shapes", "layers_of"]


def family_of(model: Any) -> Family:
    """The family of a model.

    Raises
    ------
    ValueError
        if no family handles the model's type.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.model_types)
    raise ValueError(f"model type {model_type!r} is not supported: expected one of {known}")


def layers_of(model: PreTrainedModel) -> list[Any]:
    """The layers of a model in which word-vectors are eliminated."""
    family = family_of(model)
    return list(family.layers(family.base(model)))


def layer_shapes(model: PreTrainedModel) -> tuple[LayerShape, ...]:
    """Shapes of the linear maps of each layer of a model."""
    family = family_of(model)
    return tuple(family.shape(layer) for layer in layers_of(model))
