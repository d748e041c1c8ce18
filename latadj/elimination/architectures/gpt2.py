"""GPT-2: learned positions, layer norms before each block, one linear layer for queries, keys and values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import split_heads
from latadj.elimination.architectures.decoders import Decoder
from latadj.elimination.cost import LayerShape
from latadj.elimination.layer_parts import OwnParts
from latadj.elimination.layer_structure import PrunablePaths
from latadj.elimination.survivors import Survivors


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

    def check(self, model: PreTrainedModel) -> None:
        if model.config.add_cross_attention:
            raise ValueError("a GPT-2 with add_cross_attention=true reads an encoder, which elimination cannot follow")
        if model.config.reorder_and_upcast_attn and model.config._attn_implementation == "eager":
            raise ValueError("a GPT-2 with reorder_and_upcast_attn=true: load it with attn_implementation='sdpa'")

    def layers(self, base: Any) -> Sequence[Any]:
        return base.h

    def states(
        self,
        layer: Any,
        qkv: tuple[Tensor, ...],
        alive: Survivors,
        arguments: Mapping[str, Any],
        pooled: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = qkv
        # One linear layer computes all three, so the queries of all tokens are there.
        query = alive.pick_last(alive.frame(query)) if pooled else alive.frame(query)
        size = layer.attn.head_dim
        return split_heads(query, size), split_heads(alive.frame(key), size), split_heads(alive.frame(value), size)

    def attention(self, layer: Any) -> tuple[float, float]:
        block = layer.attn
        return block.scaling, block.attn_dropout.p if block.training else 0.0

    def drop_attention(self, layer: Any, share: float) -> float:
        before, layer.attn.attn_dropout.p = layer.attn.attn_dropout.p, share
        return float(before)

    def shape(self, layer: Any) -> LayerShape:
        block = layer.attn
        states = block.c_attn.weight.numel() // 3
        return LayerShape(
            query=states,
            key_value=2 * states,
            output=block.c_proj.weight.numel(),
            feed_forward=layer.mlp.c_fc.weight.numel() + layer.mlp.c_proj.weight.numel(),
            attention=block.split_size,
            causal=True,
        )

    def prunable_paths(self, layer: Any) -> PrunablePaths:
        size = layer.attn.head_dim
        return PrunablePaths(
            block="attn",
            states=("attn.c_attn",),
            per_head=(size,),
            output="attn.c_proj",
            head_inputs=size,
            inner=("mlp.c_fc",),
            outer="mlp.c_proj",
            pieces=3,
        )

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.attn
        block.num_heads, block.split_size = heads, heads * block.head_dim

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        base = self.base(model)
        yield base.drop
        for layer in self.layers(base):
            yield from (layer.attn.resid_dropout, layer.mlp.dropout)
