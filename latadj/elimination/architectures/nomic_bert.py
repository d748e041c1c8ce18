"""NomicBERT: rotary positions, the norm after each block, gated feed-forward."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from latadj.elimination.architectures.encoders import POOLED_HEADS, Encoder
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.rotary import rotated
from latadj.elimination.layer_structure import LayerPaths
from latadj.elimination.survivors import Survivors


class NomicBertParts(OwnParts):
    """A NomicBERT layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block = self.layer.self_attn
        return block.q_proj(rows if query_rows is None else query_rows), block.k_proj(rows), block.v_proj(rows)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        layer = self.layer
        return layer.post_attention_layernorm(residual + layer.post_attention_dropout(layer.self_attn.o_proj(context)))

    def feed_forward(self, attended: Tensor) -> Tensor:
        layer = self.layer
        return layer.post_mlp_layernorm(attended + layer.post_mlp_dropout(layer.mlp(attended)))


class NomicBert(Encoder):
    """NomicBERT as transformers has it, without code from the hub."""

    in_graphs = False
    model_types = ("nomic_bert",)
    own_parts = NomicBertParts
    post_norm = True
    pooled_heads = POOLED_HEADS
    layer_list = "layers"
    block = "self_attn"
    layer_paths = LayerPaths(
        states=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        output="self_attn.o_proj",
        inner=("mlp.gate_proj", "mlp.up_proj"),
        activation="mlp.act_fn",
        outer="mlp.down_proj",
        norms=("post_attention_layernorm", "post_mlp_layernorm"),
    )
    head_size = "head_dim"
    attention_dropout = "attention_dropout"
    base_dropouts = ("embeddings.dropout",)
    layer_dropouts = ("post_attention_dropout", "post_mlp_dropout")

    def layers(self, base: Any) -> Sequence[Any]:
        return base.layers[: base.config.num_hidden_layers]

    def rotate(
        self, layer: Any, query: Tensor, key: Tensor, alive: Survivors, arguments: Mapping[str, Any], pooled: bool
    ) -> tuple[Tensor, Tensor]:
        return rotated(layer.self_attn, query, key, alive, arguments, (lambda table: table[:, :1]) if pooled else None)

    def resize(self, layer: Any, heads: int) -> None:
        pass  # its modules see how many heads there are
