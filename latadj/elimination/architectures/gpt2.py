"""GPT-2: learned positions, layer norms before each block, one linear layer for queries, keys and values."""

from collections.abc import Collection
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.architectures.decoders import Decoder
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.layer_structure import LayerPaths


class Gpt2Parts(OwnParts):
    """A GPT-2 layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        return self.layer.attn.c_attn(self.layer.ln_1(rows)).split(self.layer.attn.split_size, dim=-1)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        block = self.layer.attn
        return block.resid_dropout(block.c_proj(context)) + residual

    def feed_forward(self, attended: Tensor) -> Tensor:
        return attended + self.layer.mlp(self.layer.ln_2(attended))


class Gpt2(Decoder):
    """GPT-2 and its distilled kin."""

    model_types = ("gpt2",)
    own_parts = Gpt2Parts
    layer_list = "h"
    block = "attn"
    layer_paths = LayerPaths(
        states=("attn.c_attn",),
        output="attn.c_proj",
        inner=("mlp.c_fc",),
        activation="mlp.act",
        outer="mlp.c_proj",
        norms=("ln_1", "ln_2"),
    )
    head_size = "head_dim"
    attention_dropout = "attn_dropout.p"
    base_dropouts = ("drop",)
    layer_dropouts = ("attn.resid_dropout", "mlp.dropout")

    def check(self, model: PreTrainedModel) -> None:
        if model.config.add_cross_attention:
            raise ValueError("a GPT-2 with add_cross_attention=true reads an encoder, which elimination cannot follow")
        if model.config.reorder_and_upcast_attn and model.config._attn_implementation == "eager":
            raise ValueError("a GPT-2 with reorder_and_upcast_attn=true: load it with attn_implementation='sdpa'")

    def staying(self, base: Any) -> Collection[int]:
        return range(len(base.h)) if base.config.scale_attn_by_inverse_layer_idx else ()

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.attn
        block.num_heads, block.split_size = heads, heads * block.head_dim
