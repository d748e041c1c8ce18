"""Layers at a level: a layer of which the first heads and neurons run, sharing the weights of the whole one.

A narrowed layer is a copy of the layer and of the modules that hold its linear layers, not of any weight. It is what
pruning the same heads and neurons would leave, so whatever runs a pruned layer runs it too.
"""

import copy
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import architecture_of, layer_shapes, layers_of, refuse_shared_weights
from latadj.elimination.architectures.base import Architecture, weight_of
from latadj.elimination.architectures.layer_parts import registered_parts
from latadj.elimination.architectures.pruned_forward import shadow
from latadj.elimination.cost import shapes_at
from latadj.elimination.layer_structure import STRUCTURE, LayerStructure, layer_structure_of
from latadj.elimination.levels import Level

# Where a layer keeps its narrowed copies: (heads, neurons) -> layer.
_NARROWED = "_latadj_narrowed"


class SlicedLinear(nn.Module):
    """The first outputs, or inputs, of a linear layer, whose weights it reads anew in each call.

    Parameters
    ----------
    linear : whose weights it shares
    counts : how many outputs (or inputs) remain of each piece
    shares : the pieces into which the outputs divide, by their sizes beside each other: three where one layer is query,
        key and value layer
    outputs : whether outputs are left out, else inputs. Without inputs it adds nothing, not even its bias
    """

    def __init__(self, linear: Any, *counts: int, shares: Sequence[int] = (1,), outputs: bool) -> None:
        super().__init__()
        # Not a submodule: the layer's own weights are listed once.
        self.__dict__["source"] = linear
        self.counts, self.outputs = counts, outputs
        out_features, in_features = _sizes(linear)
        self.sizes = [out_features * share // sum(shares) for share in shares]
        self.out_features = sum(counts) if outputs else out_features
        self.in_features = in_features if outputs else sum(counts)

    @property
    def weight(self) -> Tensor:
        """(out, in)"""
        source = self.__dict__["source"]
        weight = source.weight.T if isinstance(source, Conv1D) else source.weight
        if self.outputs:
            return self._first(weight)
        # Backward, PyTorch's CPU kernels take twice as long for a part of each row.
        kept = weight[:, : self.in_features]
        return kept.contiguous() if self.training else kept

    @property
    def bias(self) -> Tensor | None:
        """(out,)"""
        bias: Tensor | None = self.__dict__["source"].bias
        if bias is None or not any(self.counts):
            return None
        return self._first(bias) if self.outputs else bias

    def _first(self, values: Tensor) -> Tensor:
        """The first outputs of each piece."""
        pieces = [piece[:count] for piece, count in zip(torch.split(values, self.sizes), self.counts, strict=True)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.weight, self.bias)


def _sizes(linear: Any) -> tuple[int, int]:
    out_features, in_features = weight_of(linear).shape
    return int(out_features), int(in_features)


def narrowed(architecture: Architecture, layer: Any, heads: int, neurons: int) -> Any:
    """A layer that uses its first heads and neurons; the layer itself where that is all of them.

    Made once, but in training, where modules change.

    Raises
    ------
    ValueError
        if it has fewer, shares its weights with others, or was lowered without this width.
    """
    known = layer.__dict__.get(_NARROWED, {})
    if (heads, neurons) in known and not layer.training:
        return known[heads, neurons] or layer
    refuse_shared_weights(architecture, type(layer).__name__)
    if registered_parts(layer) is not None:
        raise ValueError(
            f"this model was lowered for serving without layers of {heads} heads and {neurons} neurons: load it again"
        )
    shape = architecture.shape(layer)
    if (heads, neurons) == (shape.heads, shape.neurons):
        return layer
    shape.narrowed(heads, neurons)  # refuses more than there are
    made = _make(architecture, layer, heads, neurons)
    if not layer.training:
        keep_narrowed(layer, heads, neurons, made)
    return made


def check_level(model: PreTrainedModel, level: Level) -> None:
    """Refuse a level that a model does not have; one that was lowered refuses it when it runs.

    Raises
    ------
    ValueError
        if a layer has fewer heads or neurons, or shares its weights with others.
    """
    refuse_shared_weights(architecture_of(model), type(model).__name__)
    if all(registered_parts(layer) is None for layer in layers_of(model)):
        shapes_at(layer_shapes(model), level)


def keep_narrowed(layer: Any, heads: int, neurons: int, made: Any) -> None:
    """Run ``made``, or the layer itself if None, wherever a layer is to use so many heads and neurons."""
    layer.__dict__[_NARROWED] = {**layer.__dict__.get(_NARROWED, {}), (heads, neurons): made}


def forget_narrowed(layer: Any) -> None:
    """To be called when a layer's modules are exchanged: its narrowed copies hold the old ones."""
    layer.__dict__.pop(_NARROWED, None)


def structure_of_layer(architecture: Architecture, layer: Any) -> LayerStructure:
    """The remaining heads and neurons of a layer, pruned or not."""
    found = layer_structure_of(layer)
    if found is not None:
        return found
    shape = architecture.shape(layer)
    return LayerStructure.whole(shape.heads, shape.neurons)


def _make(architecture: Architecture, layer: Any, heads: int, neurons: int) -> Any:
    paths, widths = architecture.paths(layer), architecture.head_widths(layer)
    linears = (*paths.headed(widths), paths.output, *paths.inner, paths.outer)
    made = _copied(layer, (*linears, paths.activation, *paths.norms, architecture.block + ".any"))
    for name in [name for name in made.__dict__ if name == "forward" or name.startswith("_latadj_")]:
        if name != STRUCTURE:
            del made.__dict__[name]
    replaced = {
        path: SlicedLinear(attrgetter(path)(layer), *(heads * width for width in own), shares=own, outputs=True)
        for path, own in paths.headed(widths).items()
    }
    replaced[paths.output] = SlicedLinear(attrgetter(paths.output)(layer), heads * widths[0], outputs=False)
    pieces = paths.inner_pieces
    replaced |= {
        path: SlicedLinear(attrgetter(path)(layer), *[neurons] * pieces, shares=[1] * pieces, outputs=True)
        for path in paths.inner
    }
    replaced[paths.outer] = SlicedLinear(attrgetter(paths.outer)(layer), neurons, outputs=False)
    for path, linear in replaced.items():
        made.set_submodule(path, linear.train(layer.training))
    whole = structure_of_layer(architecture, layer)
    structure = LayerStructure(whole.heads[:heads], whole.neurons[:neurons], whole.of_heads, whole.of_neurons)
    block = architecture.attention_block(made)
    for module in (made, block):
        module.__dict__[STRUCTURE] = structure
    architecture.resize(made, heads)
    shadow(block, architecture.pruned_forward(made))
    return made


def _copied(layer: Any, paths: Sequence[str]) -> Any:
    """A copy of a layer and of every module on the way to some of its submodules; the submodules are shared."""
    made = _copy(layer)
    owners = {""}
    for path in paths:
        names = path.split(".")[:-1]
        for depth in range(1, len(names) + 1):
            owner = ".".join(names[:depth])
            if owner not in owners:
                owners.add(owner)
                made.set_submodule(owner, _copy(attrgetter(owner)(layer)))
    return made


def _copy(module: nn.Module) -> nn.Module:
    made = copy.copy(module)
    made._modules = dict(module._modules)
    return made
