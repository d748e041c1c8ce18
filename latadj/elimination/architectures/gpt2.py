"""GPT-2: learned positions, layer norms before each block, one map for queries, keys and values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import LOWERED, split_heads
from latadj.elimination.architectures.decoders import Decoder
from latadj.elimination.cost import LayerShape
from latadj.elimination.layer_structure import PrunablePaths
from latadj.elimination.survivors import Survivors
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowered import LinearModule, QKVLinear
from latadj.kernels.prenorm import PreNormLayer, lower_feed_forward, lower_head


class Gpt2(Decoder):
    """GPT-2 and its distilled kin."""

    model_types = ("gpt2",)

    def check(self, model: PreTrainedModel) -> None:
        if model.config.add_cross_attention:
            raise ValueError("a GPT-2 with add_cross_attention=true reads an encoder, which elimination cannot follow")
        if model.config.reorder_and_upcast_attn and model.config._attn_implementation == "eager":
            raise ValueError("a GPT-2 with reorder_and_upcast_attn=true: load it with attn_implementation='sdpa'")

    def layers(self, base: Any) -> Sequence[Any]:
        return base.h

    def states(
        self, layer: Any, rows: Tensor, asking: Tensor | None, alive: Survivors, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        block = layer.attn
        lowered = layer.__dict__.get(LOWERED)
        (states,) = (block.c_attn(layer.ln_1(rows)),) if lowered is None else lowered.attend(rows)
        query, key, value = states.split(block.split_size, dim=-1)
        query = alive.frame(query)
        query = query if asking is None else alive.pick_last(query)
        size = block.head_dim
        return split_heads(query, size), split_heads(alive.frame(key), size), split_heads(alive.frame(value), size)

    def attention(self, layer: Any) -> tuple[float, float]:
        block = layer.attn
        return block.scaling, block.attn_dropout.p if block.training else 0.0

    def drop_attention(self, layer: Any, share: float) -> float:
        before, layer.attn.attn_dropout.p = layer.attn.attn_dropout.p, share
        return float(before)

    def project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        if lowered is not None:
            return lowered.project(context, residual)
        return layer.attn.resid_dropout(layer.attn.c_proj(context)) + residual

    def feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        return attended + layer.mlp(layer.ln_2(attended)) if lowered is None else lowered.feed_forward(attended)

    def lower(self, layer: Any, route: KernelSpec, trims: bool) -> None:
        block = layer.attn
        states, output = QKVLinear(route, block.c_attn), route.pack(block.c_proj)
        (block.c_attn,), block.c_proj = states.parts(), LinearModule(output)
        layer.__dict__[LOWERED] = PreNormLayer(
            first_norm=layer.ln_1,
            states=states,
            output=output,
            second_norm=layer.ln_2,
            block=lower_feed_forward(route, layer.mlp, ("c_fc",), "c_proj", "act"),
        )

    def lower_rest(self, model: PreTrainedModel, route: KernelSpec) -> None:
        lower_head(model, route)

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

    def anatomy(self, layer: Any) -> PrunablePaths:
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
