"""T5: elimination acts in the encoder, and the decoder's cross-attention reads the survivors only."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import Architecture, parameter_names
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.pruned_forward import lacks_heads, own_bias
from latadj.elimination.cost import ALL, SURVIVORS
from latadj.elimination.layer_structure import LayerPaths, attends

# Field of the encoder's output that says which of its tokens are real; `generate` repeats it with the others.
REAL = "survivors_mask"


class T5Parts(OwnParts):
    """A layer of T5's encoder in parts; its head reads more than one position, so every token needs a query."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block, normed = self.layer.layer[0].SelfAttention, self.layer.layer[0].layer_norm(rows)
        return block.q(normed), block.k(normed), block.v(normed)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        block = self.layer.layer[0]
        return residual + block.dropout(block.SelfAttention.o(context))

    def feed_forward(self, attended: Tensor) -> Tensor:
        return self.layer.layer[-1](attended)


class T5(Architecture):
    """T5 and Flan-T5: relative positions as a bias on the attention products, norms before each block."""

    model_types = ("t5",)
    own_parts = T5Parts
    pooled_heads = ()
    layer_list = "block"
    block = "layer.0.SelfAttention"
    head_size = "key_value_proj_dim"
    attention_dropout = "dropout"

    def base(self, model: PreTrainedModel) -> Any:
        inner = getattr(model, "transformer", model)  # a classifier keeps the two stacks in there
        return inner.encoder

    def heads(self, model: PreTrainedModel, reads: str) -> Iterator[tuple[nn.Module, str, Any]]:
        inner = getattr(model, "transformer", model)
        if hasattr(inner, "decoder"):
            yield inner, "forward", partial(read_survivors, parameter_names(type(inner).forward))

    def staying(self, base: Any) -> Collection[int]:
        return (0,)  # it holds the table of positions that all layers share

    def prefill(self, model: PreTrainedModel, input_ids: Tensor, mask: Tensor | None = None) -> Any:
        return self.base(model)(input_ids=input_ids, attention_mask=mask)

    def bias(self, layer: Any, length: int, arguments: Mapping[str, Any]) -> Tensor | None:
        if arguments.get("position_bias") is not None:  # the first layer's, which all share
            return arguments["position_bias"]
        return layer.layer[0].SelfAttention.compute_bias(length, length)

    def head_tables(self, base: Any) -> list[Tensor]:
        return [base.block[0].layer[0].SelfAttention.relative_attention_bias.weight]

    def result(self, hidden: Tensor, bias: Tensor | None) -> Any:
        return hidden, bias, None

    def finish(self, output: Any, state: Any) -> Any:
        if state.reads == SURVIVORS:
            if isinstance(output, tuple):
                raise ValueError(
                    "return_dict=False: an encoder that eliminates must hand on which of its outputs are real, which a "
                    "tuple has no place for: leave return_dict out"
                )
            output[REAL] = state.leaving_mask()
        return output

    def paths(self, layer: Any) -> LayerPaths:
        last = f"layer.{len(layer.layer) - 1}"  # after cross-attention in the decoder
        dense, gated = f"{last}.DenseReluDense", hasattr(layer.layer[-1].DenseReluDense, "wi_0")
        return LayerPaths(
            states=(f"{self.block}.q", f"{self.block}.k", f"{self.block}.v"),
            output=f"{self.block}.o",
            inner=(f"{dense}.wi_0", f"{dense}.wi_1") if gated else (f"{dense}.wi",),
            activation=f"{dense}.act",
            outer=f"{dense}.wo",
            norms=("layer.0.layer_norm", f"{last}.layer_norm"),
        )

    def pruned_forward(self, layer: Any) -> Any:
        return _with_own_bias if lacks_heads(layer) else None

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.layer[0].SelfAttention
        block.n_heads, block.inner_dim = heads, heads * block.key_value_proj_dim

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                yield module

    def reads(self, model: PreTrainedModel) -> str:
        return SURVIVORS if hasattr(getattr(model, "transformer", model), "decoder") else ALL


def _with_own_bias(block: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Self-attention of the heads that are left: it takes its part of the bias of all, and hands all of it on."""
    bias = kwargs.pop("position_bias", None)
    if bias is None:
        length = hidden_states.shape[1]
        bias = block.compute_bias(length, length, device=hidden_states.device)
    if not attends(block):
        return torch.zeros_like(hidden_states), bias, None
    outputs = type(block).forward(block, hidden_states, *args, position_bias=own_bias(block, bias), **kwargs)
    return outputs[0], bias, *outputs[2:]


def read_survivors(names: Sequence[str], model: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward of encoder and decoder that runs the encoder first, and hands on which of its outputs are real.

    Parameters
    ----------
    names : of the parameters of the class's forward
    """
    arguments = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
    outputs = arguments.get("encoder_outputs")
    if outputs is None:
        passed = {name: arguments.get(name) for name in ("input_ids", "attention_mask", "inputs_embeds")}
        extra = {
            name: arguments[name]
            for name in ("output_attentions", "output_hidden_states")
            if arguments.get(name) is not None
        }
        arguments["encoder_outputs"] = outputs = model.encoder(**passed, **extra, return_dict=True)
    if isinstance(outputs, Mapping) and outputs.get(REAL) is not None:
        arguments["attention_mask"] = outputs[REAL]
    return type(model).forward(model, **arguments)
