"""MPNet: BERT's layers with a bias for relative positions, which its encoder makes once for all of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latadj.elimination.architectures.closed_encoder import ClosedEncoder, handed
from latadj.elimination.architectures.encoders import POOLED_HEADS
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.pruned_forward import lacks_heads, own_bias
from latadj.elimination.layer_structure import LayerPaths, attends


class MPNetParts(OwnParts):
    """An MPNet layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block = self.layer.attention.attn
        return block.q(rows if query_rows is None else query_rows), block.k(rows), block.v(rows)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        attention = self.layer.attention
        return attention.LayerNorm(attention.dropout(attention.attn.o(context)) + residual)

    def feed_forward(self, attended: Tensor) -> Tensor:
        return self.layer.output(self.layer.intermediate(attended), attended)


def hand_on(encoder: Any, *args: Any, **kwargs: Any) -> Any:
    """The encoder's forward, with what the base handed on."""
    return type(encoder).forward(encoder, *args, **kwargs, **handed())


class MPNet(ClosedEncoder):
    """MPNet, whose encoder hands on to its layers what it does not know."""

    model_types = ("mpnet",)
    own_parts = MPNetParts
    encoder_forward = staticmethod(hand_on)
    post_norm = True
    pooled_heads = POOLED_HEADS
    layer_list = "encoder.layer"
    block = "attention.attn"
    layer_paths = LayerPaths(
        states=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        output="attention.attn.o",
        inner=("intermediate.dense",),
        activation="intermediate.intermediate_act_fn",
        outer="output.dense",
        norms=("attention.LayerNorm", "output.LayerNorm"),
    )
    head_size = "attention_head_size"
    attention_dropout = "dropout.p"
    base_dropouts = ("embeddings.dropout",)
    layer_dropouts = ("attention.dropout", "output.dropout")

    def bias(self, layer: Any, length: int, arguments: Mapping[str, Any]) -> Tensor | None:
        return arguments["position_bias"][:1]  # the same for each text

    def head_tables(self, base: Any) -> list[Tensor]:
        return [base.encoder.relative_attention_bias.weight]

    def result(self, hidden: Tensor, bias: Tensor | None) -> Any:
        return (hidden,)

    def pruned_forward(self, layer: Any) -> Any:
        return _with_own_bias if lacks_heads(layer) else None

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.attention.attn
        block.num_attention_heads, block.all_head_size = heads, heads * block.attention_head_size


def _with_own_bias(
    block: Any, hidden_states: Tensor, attention_mask: Any = None, position_bias: Any = None, **kwargs: Any
) -> tuple[Any, ...]:
    """Attention of the heads that are left, with their part of the bias of all."""
    if not attends(block):
        return torch.zeros_like(hidden_states), None
    return type(block).forward(block, hidden_states, attention_mask, own_bias(block, position_bias), **kwargs)
