"""Lowers a model to the number format and the kernels it is served with. One way: for inference only."""

from types import MethodType
from typing import Any, NoReturn

import torch
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of
from latadj.elimination.cost import POOLED
from latadj.kernels.linear import DTYPES, KernelSpec

MARK = "_latadj_route"


@torch.no_grad()
def lower(model: PreTrainedModel, route: KernelSpec, reads: str | None = None) -> PreTrainedModel:
    """Lay a model's linear maps out for a route, in place; each one's old weights are freed as it goes.

    Elimination may be attached before or after, and detached; training and saving are over.

    Parameters
    ----------
    model : a model in fp32, of a supported architecture
    reads : ``pooled`` or ``all``; found from the head's class when left out

    Returns
    -------
    the same model, in eval mode

    Raises
    ------
    ValueError
        if the architecture is unknown, the model is lowered already, or the route does not run on the model's device.
    """
    if is_lowered(model):
        raise ValueError(f"this model is lowered to {kernel_of(model).precision} already: load it again")
    if route.kernel != "plain" and model.device.type != "cpu":
        raise ValueError(
            f"precision {route.precision} by {route.kernel} runs on a CPU, this model is on {model.device}"
        )
    architecture = architecture_of(model)
    model.eval().to(DTYPES[route.precision])
    pooled = (reads or architecture.reads(model)) == POOLED
    layers = architecture.layers(architecture.base(model))
    for index, layer in enumerate(layers):
        architecture.lower(layer, route, trims=pooled and index == len(layers) - 1)
    architecture.lower_rest(model, route)
    model.requires_grad_(False)
    model.__dict__[MARK] = route
    model.__dict__["save_pretrained"] = MethodType(_refuse_to_save, model)
    return model


def is_lowered(model: PreTrainedModel) -> bool:
    """Whether a model's maps are laid out for serving."""
    return MARK in model.__dict__


def kernel_of(model: PreTrainedModel) -> KernelSpec:
    """The route that a model was lowered to; the plain one in fp32 if it was not."""
    route: KernelSpec = model.__dict__.get(MARK, KernelSpec("fp32", "plain"))
    return route


def _refuse_to_save(model: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise ValueError(
        f"this model was lowered to {kernel_of(model).precision} and holds no weights to save: save the folder it was "
        "loaded from, or load it again without precision="
    )
