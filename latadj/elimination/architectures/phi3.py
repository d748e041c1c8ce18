"""Phi-3 and Phi-4: a Llama with one linear layer for queries, keys and values, and one for gate and up."""

from typing import Any

from torch import Tensor

from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.llama import Llama
from latadj.elimination.architectures.pruned_forward import lacks_heads, no_output
from latadj.elimination.layer_structure import LayerPaths, attends


class Phi3Parts(OwnParts):
    """A Phi-3 layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block = self.layer.self_attn
        keys = block.num_key_value_heads * block.head_dim
        states = block.qkv_proj(self.layer.input_layernorm(rows))
        return states.split((block.num_key_value_groups * keys, keys, keys), dim=-1)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        return residual + self.layer.resid_attn_dropout(self.layer.self_attn.o_proj(context))

    def feed_forward(self, attended: Tensor) -> Tensor:
        layer = self.layer
        return attended + layer.resid_mlp_dropout(layer.mlp(layer.post_attention_layernorm(attended)))


class Phi3(Llama):
    """Phi-3, Phi-3.5 and Phi-4."""

    model_types = ("phi3",)
    own_parts = Phi3Parts
    parts_of_layer = frozenset({*Llama.parts_of_layer, "resid_attn_dropout", "resid_mlp_dropout"})
    parts_of_attention = frozenset({"qkv_proj", "o_proj"})
    layer_paths = LayerPaths(
        states=("self_attn.qkv_proj",),
        output="self_attn.o_proj",
        inner=("mlp.gate_up_proj",),
        activation="mlp.activation_fn",
        outer="mlp.down_proj",
        norms=("input_layernorm", "post_attention_layernorm"),
        inner_pieces=2,
    )
    layer_dropouts = ("resid_attn_dropout", "resid_mlp_dropout")

    def resize(self, layer: Any, heads: int) -> None:
        layer.self_attn.num_key_value_heads = heads

    def pruned_forward(self, layer: Any) -> Any:
        return _with_own_heads if lacks_heads(layer) else None


class _Instead:
    """A module or config as another sees it who is to find other values in some of its attributes."""

    def __init__(self, of: Any, **attributes: Any) -> None:
        self.__dict__.update(attributes, of=of)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["of"], name)


def _with_own_heads(block: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Attention of the heads that are left: its own forward counts queries by the config, which is of all layers."""
    if not attends(block):
        return no_output(block, hidden_states, *args, **kwargs)
    config = _Instead(block.config, num_attention_heads=block.num_key_value_heads * block.num_key_value_groups)
    outputs: tuple[Any, ...] = type(block).forward(_Instead(block, config=config), hidden_states, *args, **kwargs)
    return outputs
