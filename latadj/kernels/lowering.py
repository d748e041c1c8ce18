"""Lowers a model to the number format and the kernels it is served with. One way: for inference only.

A layer is lowered by the paths that its architecture names. Its modules are replaced too, for transformers' own
forward.
"""

from collections.abc import Iterable
from functools import partial
from operator import attrgetter
from typing import Any, NoReturn

import torch
from torch import nn
from transformers import PreTrainedModel

from latadj.elimination.architectures import Architecture, architecture_of
from latadj.elimination.architectures.layer_parts import register_parts
from latadj.elimination.architectures.llama import STATE_NORMS
from latadj.elimination.architectures.t5 import T5
from latadj.elimination.cost import POOLED
from latadj.elimination.layer_structure import LayerPaths
from latadj.elimination.levels import Level
from latadj.elimination.narrowing import forget_narrowed, keep_narrowed, narrowed
from latadj.kernels.linear import DTYPES, KernelSpec, outputs_of
from latadj.kernels.lowered_layers import AddNorm, LinearModule, PostNormLayer, PreNormLayer, QKVLinear, linear_modules
from latadj.kernels.lowered_linear import LoweredLinear

MARK = "_latadj_kernel"
# Names of the norm after all layers.
FINAL_NORMS = {"norm", "final_layer_norm"}


@torch.no_grad()
def lower(
    model: PreTrainedModel, spec: KernelSpec, reads: str | None = None, levels: Iterable[Level] = ()
) -> PreTrainedModel:
    """Lay a model's linear layers out for a kernel, in place; each one's old weights are freed as it goes.

    Elimination may be attached before or after, and detached; training and saving are over.

    Parameters
    ----------
    model : a model in fp32, of a supported architecture
    reads : ``pooled`` or ``all``; found from the head's class when left out
    levels : at which it is to run too: a layer's linear layers are laid out once for each width that it has there

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
    base, levels = architecture.base(model), list(levels)
    layers = architecture.layers(base)
    for layer in dict.fromkeys(layers):
        places = [index for index, other in enumerate(layers) if other is layer]
        trims = pooled and places == [len(layers) - 1]
        forget_narrowed(layer)
        used = {
            (level.heads[index], level.neurons[index])
            for level in levels
            for index in places
            if not level.leaves_out(index)
        }
        copies = {width: narrowed(architecture, layer, *width) for width in sorted(used)}
        for made in copies.values():
            if made is not layer:
                architecture.settle(base, made)
                lower_layer(architecture, made, spec, trims)
        architecture.settle(base, layer)
        lower_layer(architecture, layer, spec, trims)
        for width, made in copies.items():
            keep_narrowed(layer, *width, None if made is layer else made)
    _lower_final_norm(architecture, base)
    if isinstance(architecture, T5):
        _lower_t5_decoder(architecture, model, spec)
    if isinstance(head := getattr(model, "lm_head", None), nn.Linear):
        model.lm_head = LinearModule(spec.pack(head))  # an embedding that shared its weights keeps them
    model.requires_grad_(False)
    model.__dict__[MARK] = spec
    model.__dict__["save_pretrained"] = partial(_refuse_to_save, model)
    return model


def lower_layer(architecture: Architecture, layer: Any, spec: KernelSpec, trims: bool) -> None:
    """Lay one layer's linear layers out for a kernel, in place.

    Parameters
    ----------
    trims : whether only the pooled position needs a context in this layer
    """
    paths = architecture.paths(layer)
    separate, heads = trims and len(paths.states) > 1, architecture.shape(layer).heads
    states = QKVLinear(spec, *_modules(layer, paths.states), separate_query=separate)
    output = spec.pack(*_modules(layer, (paths.output,)))
    _replace(layer, paths.states, states.modules())
    _replace(layer, (paths.output,), [LinearModule(output)])
    inner, activation, outer = _lower_feed_forward(layer, paths, spec, uneven=not architecture.post_norm)
    if architecture.post_norm:
        first, second = (AddNorm(*pair) for pair in zip((output, outer), _modules(layer, paths.norms), strict=True))
        register_parts(layer, PostNormLayer(states, first, inner, activation, second, paths.gated))
        return
    _lower_norms(architecture, layer, (*paths.norms, *paths.added_norms))
    block = architecture.attention_block(layer)
    _lower_norms(architecture, block, STATE_NORMS & {name for name, _ in block.named_children()})
    first_norm, second_norm = _modules(layer, paths.norms)
    pieces, added = [heads * width for width in architecture.head_widths(layer)], _modules(layer, paths.added_norms)
    parts = PreNormLayer(first_norm, states, pieces, output, second_norm, inner, activation, outer, paths.gated, added)
    register_parts(layer, parts)


def _lower_feed_forward(
    layer: Any, paths: LayerPaths, spec: KernelSpec, uneven: bool
) -> tuple[LoweredLinear, nn.Module, LoweredLinear]:
    """Put lowered layers in the place of a feed-forward block's own.

    Parameters
    ----------
    uneven : with the norm before the block, what enters the outer layer is thousands of times as large for a text's
        first token as for others

    Returns
    -------
    the layers to the inner width as one, the activation after them, and the layer back
    """
    inner, (activation, outer) = _modules(layer, paths.inner), _modules(layer, (paths.activation, paths.outer))
    name = type(activation).__name__
    fused = name if not paths.gated and spec.fuses(name) else None
    if fused:
        activation = nn.Identity()
    elif name == "NewGELUActivation" and uneven:
        activation = nn.GELU(approximate="tanh")  # in one call
    packed, back = spec.pack(*inner, activation=fused), spec.pack(outer, uneven=uneven)
    _replace(layer, paths.inner, linear_modules(packed, outputs_of(*inner)))
    _replace(layer, (paths.activation, paths.outer), (activation, LinearModule(back)))
    return packed, activation, back


def _lower_norms(architecture: Architecture, module: Any, paths: Iterable[str]) -> None:
    """Run norms in one call, where transformers' root-mean-square takes seven: of a few rows, those are the time."""
    for path in paths:
        norm = attrgetter(path)(module)
        epsilon = getattr(norm, architecture.norm_epsilon, None)
        if epsilon is not None:
            weight = norm.weight
            lowered = nn.RMSNorm(weight.shape, eps=epsilon, device="meta")
            if offset := architecture.norm_offset:
                weight = nn.Parameter((weight.detach().float() + offset).to(weight.dtype))
            lowered.weight = weight
            module.set_submodule(path, lowered)


def _lower_final_norm(architecture: Architecture, stack: Any) -> None:
    _lower_norms(architecture, stack, FINAL_NORMS & {name for name, _ in stack.named_children()})


def _lower_t5_decoder(architecture: T5, model: Any, spec: KernelSpec) -> None:
    """Lower T5's decoder, which transformers' own forward runs."""
    decoder = getattr(getattr(model, "transformer", model), "decoder", None)
    if decoder is None:
        return
    _lower_final_norm(architecture, decoder)
    for layer in decoder.block:
        own, cross = "layer.0.SelfAttention", "layer.1.EncDecAttention"
        # Keys and values of the encoder's output have another input than the queries.
        for block, groups in ((own, ("qkv", "o")), (cross, ("q", "kv", "o"))):
            for names in groups:
                paths = [f"{block}.{name}" for name in names]
                modules = _modules(layer, paths)
                _replace(layer, paths, linear_modules(spec.pack(*modules), outputs_of(*modules)))
        _lower_feed_forward(layer, architecture.paths(layer), spec, uneven=True)
        _lower_norms(architecture, layer, [f"layer.{number}.layer_norm" for number in range(len(layer.layer))])


def _modules(layer: Any, paths: Iterable[str]) -> list[Any]:
    return [attrgetter(path)(layer) for path in paths]


def _replace(layer: Any, paths: Iterable[str], modules: Iterable[nn.Module]) -> None:
    for path, module in zip(paths, modules, strict=True):
        layer.set_submodule(path, module)


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
