"""Lowers a model to the number format and the kernels it is served with. One way: for inference only.

To lower another architecture, write how one of its layers is lowered, and name it in the table.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any, NoReturn

import torch
from transformers import PreTrainedModel

from latadj.elimination.architectures import Architecture, architecture_of
from latadj.elimination.architectures.encoders import Bert, DistilBert
from latadj.elimination.architectures.gpt2 import Gpt2
from latadj.elimination.architectures.llama import Llama
from latadj.elimination.architectures.t5 import T5
from latadj.elimination.cost import POOLED
from latadj.elimination.layer_parts import LayerParts, register_parts
from latadj.kernels.linear import DTYPES, KernelSpec
from latadj.kernels.lowering.encoders import lower_encoder_layer
from latadj.kernels.lowering.gpt2 import lower_gpt2_layer
from latadj.kernels.lowering.llama import lower_llama_layer, lower_llama_rest
from latadj.kernels.lowering.t5 import lower_t5_layer, lower_t5_rest
from latadj.kernels.pre_norm import lower_head

MARK = "_latadj_kernel"
# (architecture, layer, spec, whether only the pooled position needs a context) -> the parts that replace the layer's
# own; the layer's modules are replaced too, for transformers' own forward.
LOWER_LAYER: dict[type[Architecture], Callable[[Any, Any, KernelSpec, bool], LayerParts]] = {
    Bert: lower_encoder_layer,
    DistilBert: lower_encoder_layer,
    Gpt2: lower_gpt2_layer,
    Llama: lower_llama_layer,
    T5: lower_t5_layer,
}
# (architecture, model, spec): lowers what stands around the layers; of encoders nothing does.
LOWER_REST: dict[type[Architecture], Callable[[Any, PreTrainedModel, KernelSpec], None]] = {
    Gpt2: lambda architecture, model, spec: lower_head(model, spec),
    Llama: lower_llama_rest,
    T5: lower_t5_rest,
}


@torch.no_grad()
def lower(model: PreTrainedModel, spec: KernelSpec, reads: str | None = None) -> PreTrainedModel:
    """Lay a model's linear layers out for a kernel, in place; each one's old weights are freed as it goes.

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
        if the architecture is unknown, the model is lowered already, or the kernel does not run on the model's device.
    """
    if is_lowered(model):
        raise ValueError(f"this model is lowered to {kernel_of(model).precision} already: load it again")
    if spec.kernel != "plain" and model.device.type != "cpu":
        raise ValueError(f"precision {spec.precision} by {spec.kernel} runs on a CPU, this model is on {model.device}")
    architecture = architecture_of(model)
    model.eval().to(DTYPES[spec.precision])
    pooled = (reads or architecture.reads(model)) == POOLED
    layers = architecture.layers(architecture.base(model))
    for index, layer in enumerate(layers):
        lower_layer(architecture, layer, spec, trims=pooled and index == len(layers) - 1)
    if lower_rest := LOWER_REST.get(type(architecture)):
        lower_rest(architecture, model, spec)
    model.requires_grad_(False)
    model.__dict__[MARK] = spec
    model.__dict__["save_pretrained"] = MethodType(_refuse_to_save, model)
    return model


def lower_layer(architecture: Architecture, layer: Any, spec: KernelSpec, trims: bool) -> None:
    """Lay one layer's linear layers out for a kernel, in place.

    Parameters
    ----------
    trims : whether only the pooled position needs a context in this layer
    """
    register_parts(layer, LOWER_LAYER[type(architecture)](architecture, layer, spec, trims))


def is_lowered(model: PreTrainedModel) -> bool:
    """Whether a model's linear layers are laid out for serving."""
    return MARK in model.__dict__


def kernel_of(model: PreTrainedModel) -> KernelSpec:
    """The kernel that a model was lowered to; the plain one in fp32 if it was not."""
    spec: KernelSpec = model.__dict__.get(MARK, KernelSpec("fp32", "plain"))
    return spec


def _refuse_to_save(model: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise ValueError(
        f"this model was lowered to {kernel_of(model).precision} and holds no weights to save: save the folder it was "
        "loaded from, or load it again without precision="
    )
