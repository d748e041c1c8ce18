"""The Llama kind of decoder: rotary positions, root-mean-square norms before each block, gated feed-forward."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.architectures.decoders import Decoder
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.rotary import rotated
from latadj.elimination.layer_structure import LayerPaths
from latadj.elimination.survivors import Survivors

# Norms of queries and keys by heads, which some of these have.
STATE_NORMS = {"q_norm", "k_norm"}


# All layers of these have the window of their config, whatever kinds of layers it names.
ONE_WINDOW = ("mistral", "phi3")


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

    model_types: tuple[str, ...] = ("llama", "mistral", "qwen2", "qwen3")
    own_parts: type[OwnParts] = LlamaParts
    # What a layer and its attention module consist of, and nothing else.
    parts_of_layer = frozenset({"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"})
    parts_of_attention = frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
    layer_list = "layers"
    block = "self_attn"
    layer_paths = LayerPaths(
        states=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        output="self_attn.o_proj",
        inner=("mlp.gate_proj", "mlp.up_proj"),
        activation="mlp.act_fn",
        outer="mlp.down_proj",
        norms=("input_layernorm", "post_attention_layernorm"),
    )
    head_size = "head_dim"
    attention_dropout = "attention_dropout"

    def check(self, model: PreTrainedModel) -> None:
        window = getattr(model.config, "sliding_window", None)
        if model.config.model_type == "llama" and window is not None:
            raise ValueError(
                f"a {type(model).__name__} with sliding_window={window}: the layers of a Llama have no window, but its "
                "cache would forget what has left one: load it with sliding_window=None"
            )
        for layer in self.layers(self.base(model)):
            parts = {name for name, _ in layer.named_children()}
            inner = {name for name, _ in layer.self_attn.named_children()} - STATE_NORMS
            if parts != self.parts_of_layer or inner != self.parts_of_attention:
                raise ValueError(
                    f"{type(model).__name__} has layers of {', '.join(sorted(parts | inner))}: expected those of a "
                    f"{type(self).__name__}, {', '.join(sorted(self.parts_of_layer | self.parts_of_attention))}"
                )

    def layers(self, base: Any) -> Sequence[Any]:
        return base.layers[: base.config.num_hidden_layers]

    def head_widths(self, layer: Any) -> tuple[int, int, int]:
        block = layer.self_attn
        return block.head_dim * block.num_key_value_groups, block.head_dim, block.head_dim

    def reach(self, layer: Any) -> int | None:
        block = layer.self_attn
        if hasattr(block, "sliding_window"):  # Qwen's and Gemma's, some of whose layers have none
            return block.sliding_window
        return block.config.sliding_window if block.config.model_type in ONE_WINDOW else None

    def rotate(
        self, layer: Any, query: Tensor, key: Tensor, alive: Survivors, arguments: Mapping[str, Any], pooled: bool
    ) -> tuple[Tensor, Tensor]:
        block = layer.self_attn
        if hasattr(block, "q_norm"):
            query, key = block.q_norm(query), block.k_norm(key)
        return rotated(block, query, key, alive, arguments, alive.pick_last if pooled else None)

    def resize(self, layer: Any, heads: int) -> None:
        layer.mlp.intermediate_size = layer.mlp.down_proj.in_features
