"""The Llama kind of decoder: rotary positions, root-mean-square norms before each block, gated feed-forward."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import split_heads
from latadj.elimination.architectures.decoders import Decoder, refuse_sliding
from latadj.elimination.cost import LayerShape
from latadj.elimination.layer_parts import OwnParts
from latadj.elimination.layer_structure import PrunablePaths
from latadj.elimination.survivors import Survivors

# What a layer of this kind consists of, and nothing else.
PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
STATE_NORMS = {"q_norm", "k_norm"}


class LlamaParts(OwnParts):
    """A Llama layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block, norm = self.layer.self_attn, self.layer.input_layernorm
        normed = norm(rows)
        query = block.q_proj(normed if query_rows is None else norm(query_rows))
        return query, block.k_proj(normed), block.v_proj(normed)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        return residual + self.layer.self_attn.o_proj(context)

    def feed_forward(self, attended: Tensor) -> Tensor:
        return attended + self.layer.mlp(self.layer.post_attention_layernorm(attended))


class Llama(Decoder):
    """Llama, SmolLM2 (a Llama), Mistral, Qwen2 and Qwen3."""

    model_types = ("llama", "mistral", "qwen2", "qwen3")
    own_parts = LlamaParts

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
        self,
        layer: Any,
        qkv: tuple[Tensor, ...],
        alive: Survivors,
        arguments: Mapping[str, Any],
        pooled: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        block = layer.self_attn
        query, key, value = qkv
        query = split_heads(query[:, None] if pooled else alive.frame(query), block.head_dim)
        key, value = split_heads(alive.frame(key), block.head_dim), split_heads(alive.frame(value), block.head_dim)
        if hasattr(block, "q_norm"):
            query, key = block.q_norm(query), block.k_norm(key)
        rotate = sys.modules[type(block).__module__].apply_rotary_pos_emb
        cos, sin = (alive.at_origin(table).to(key.dtype) for table in arguments["position_embeddings"])
        if pooled:
            key = rotate(key, key, cos, sin)[1]
            query = rotate(query, query, alive.pick_last(cos), alive.pick_last(sin))[0]
        else:
            query, key = rotate(query, key, cos, sin)
        return query, key, value

    def attention(self, layer: Any) -> tuple[float, float]:
        block = layer.self_attn
        return block.scaling, block.attention_dropout if block.training else 0.0

    def drop_attention(self, layer: Any, share: float) -> float:
        before, layer.self_attn.attention_dropout = layer.self_attn.attention_dropout, share
        return float(before)

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

    def prunable_paths(self, layer: Any) -> PrunablePaths:
        block = layer.self_attn
        size, queries = block.head_dim, block.head_dim * block.num_key_value_groups
        return PrunablePaths(
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
