"""The Llama kind of decoder: rotary positions, root-mean-square norms before each block, gated feed-forward."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.cost import LayerShape
from latadj.elimination.families.base import LOWERED, split_heads
from latadj.elimination.families.decoders import Decoder, refuse_sliding
from latadj.elimination.maps import Route
from latadj.elimination.parts import Part, StateMaps
from latadj.elimination.prenorm import PreNormLayer, lower_feed_forward, lower_head, lowered_norm
from latadj.elimination.structure import Anatomy
from latadj.elimination.survivors import Survivors

# What a layer of this kind consists of, and nothing else.
PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
STATE_NORMS = {"q_norm", "k_norm"}


class Llama(Decoder):
    """Llama, SmolLM2 (a Llama), Mistral, Qwen2 and Qwen3."""

    model_types = ("llama", "mistral", "qwen2", "qwen3")

    def check(self, model: PreTrainedModel) -> None:
        refuse_sliding(model)
        for layer in self.layers(self.base(model)):
            parts = {name for name, _ in layer.named_children()}
            inner = {name for name, _ in layer.self_attn.named_children()} - STATE_NORMS
            if parts != PARTS or inner != ATTENTION_PARTS:
                raise ValueError(
                    f"{type(model).__name__} has layers of {', '.join(sorted(parts | inner))}: expected those of a "
                    f"Llama, {', '.join(sorted(PARTS | ATTENTION_PARTS))}"
                )

    def layers(self, base: Any) -> Sequence[Any]:
        return base.layers[: base.config.num_hidden_layers]

    def states(
        self, layer: Any, rows: Tensor, asking: Tensor | None, alive: Survivors, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        block = layer.self_attn
        lowered = layer.__dict__.get(LOWERED)
        if lowered is not None:
            query, key, value = lowered.attend(rows, asking)
        else:
            normed = layer.input_layernorm(rows)
            ask = normed if asking is None else layer.input_layernorm(asking)
            query, key, value = block.q_proj(ask), block.k_proj(normed), block.v_proj(normed)
        query = split_heads(alive.frame(query) if asking is None else query[:, None], block.head_dim)
        key, value = split_heads(alive.frame(key), block.head_dim), split_heads(alive.frame(value), block.head_dim)
        if hasattr(block, "q_norm"):
            query, key = block.q_norm(query), block.k_norm(key)
        rotate = sys.modules[type(block).__module__].apply_rotary_pos_emb
        cos, sin = (alive.at_origin(table).to(key.dtype) for table in given["position_embeddings"])
        if asking is None:
            query, key = rotate(query, key, cos, sin)
        else:
            key = rotate(key, key, cos, sin)[1]
            last = (alive.pick_last(cos), alive.pick_last(sin))
            query = rotate(query, query, *last)[0]
        return query, key, value

    def attention(self, layer: Any) -> tuple[float, float]:
        block = layer.self_attn
        return block.scaling, block.attention_dropout if block.training else 0.0

    def drop_attention(self, layer: Any, share: float) -> float:
        before, layer.self_attn.attention_dropout = layer.self_attn.attention_dropout, share
        return float(before)

    def project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        return residual + layer.self_attn.o_proj(context) if lowered is None else lowered.project(context, residual)

    def feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        if lowered is not None:
            return lowered.feed_forward(attended)
        return attended + layer.mlp(layer.post_attention_layernorm(attended))

    def lower(self, layer: Any, route: Route, trims: bool) -> None:
        block = layer.self_attn
        states = StateMaps(route, block.q_proj, block.k_proj, block.v_proj, separate_query=trims)
        block.q_proj, block.k_proj, block.v_proj = states.parts()
        output = route.pack(block.o_proj)
        block.o_proj = Part(output)
        for name in STATE_NORMS & {name for name, _ in block.named_children()}:
            setattr(block, name, lowered_norm(getattr(block, name)))
        layer.input_layernorm = lowered_norm(layer.input_layernorm)
        layer.post_attention_layernorm = lowered_norm(layer.post_attention_layernorm)
        layer.__dict__[LOWERED] = PreNormLayer(
            first_norm=layer.input_layernorm,
            states=states,
            output=output,
            second_norm=layer.post_attention_layernorm,
            block=lower_feed_forward(route, layer.mlp, ("gate_proj", "up_proj"), "down_proj", "act_fn"),
        )

    def lower_rest(self, model: PreTrainedModel, route: Route) -> None:
        base = self.base(model)
        base.norm = lowered_norm(base.norm)
        lower_head(model, route)

    def shape(self, layer: Any) -> LayerShape:
        block = layer.self_attn
        return LayerShape(
            query=block.q_proj.weight.numel(),
            key_value=block.k_proj.weight.numel() + block.v_proj.weight.numel(),
            output=block.o_proj.weight.numel(),
            feed_forward=sum(weight.numel() for weight in layer.mlp.parameters() if weight.ndim == 2),
            attention=block.q_proj.out_features,
            causal=True,
        )

    def anatomy(self, layer: Any) -> Anatomy:
        block = layer.self_attn
        size, queries = block.head_dim, block.head_dim * block.num_key_value_groups
        return Anatomy(
            block="self_attn",
            states=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            per_head=(queries, size, size),
            output="self_attn.o_proj",
            head_inputs=queries,
            inner=("mlp.gate_proj", "mlp.up_proj"),
            outer="mlp.down_proj",
        )

    def resize(self, layer: Any, heads: int) -> None:
        layer.mlp.intermediate_size = layer.mlp.down_proj.in_features

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        return iter(())
