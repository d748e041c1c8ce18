"""ALBERT: BERT's computation by layers of which one is run many times, with the same weights each time."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from latadj.elimination.architectures.encoders import POOLED_HEADS, Encoder
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.layer_structure import LayerPaths


class AlbertParts(OwnParts):
    """An ALBERT layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block = self.layer.attention
        return block.query(rows if query_rows is None else query_rows), block.key(rows), block.value(rows)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        block = self.layer.attention
        return block.LayerNorm(residual + block.output_dropout(block.dense(context)))

    def feed_forward(self, attended: Tensor) -> Tensor:
        # Not in chunks, which transformers looks for along the second dimension of a batch.
        return self.layer.full_layer_layer_norm(self.layer.ff_chunk(attended) + attended)


class Albert(Encoder):
    """ALBERT: what is eliminated differs by depth, what runs does not."""

    in_graphs = False
    shares_weights = True
    model_types = ("albert",)
    own_parts = AlbertParts
    post_norm = True
    pooled_heads = POOLED_HEADS
    block = "attention"
    layer_paths = LayerPaths(
        states=("attention.query", "attention.key", "attention.value"),
        output="attention.dense",
        inner=("ffn",),
        activation="activation",
        outer="ffn_output",
        norms=("attention.LayerNorm", "full_layer_layer_norm"),
    )
    head_size = "attention_head_size"
    attention_dropout = "attention_dropout.p"
    base_dropouts = ("embeddings.dropout",)
    layer_dropouts = ("attention.output_dropout", "dropout")

    def layers(self, base: Any) -> Sequence[Any]:
        groups, config = base.encoder.albert_layer_groups, base.config
        depths = range(config.num_hidden_layers)
        # As the encoder's forward goes through them: neighbours are of one group.
        of_depth = (int(depth / (config.num_hidden_layers / config.num_hidden_groups)) for depth in depths)
        return [layer for group in of_depth for layer in groups[group].albert_layers]

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.attention
        block.num_attention_heads, block.all_head_size = heads, heads * block.attention_head_size
