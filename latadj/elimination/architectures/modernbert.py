"""ModernBERT: rotary positions, local attention in most layers, norms before each block, gated feed-forward."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.encoders import POOLED_HEADS, Encoder
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.rotary import rotated
from latadj.elimination.attention import FAR
from latadj.elimination.cost import ALL
from latadj.elimination.layer_structure import LayerPaths
from latadj.elimination.survivors import Survivors


class ModernBertParts(OwnParts):
    """A ModernBERT layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        return self.layer.attn.Wqkv(self.layer.attn_norm(rows)).chunk(3, dim=-1)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        block = self.layer.attn
        return residual + block.out_drop(block.Wo(context))

    def feed_forward(self, attended: Tensor) -> Tensor:
        return attended + self.layer.mlp(self.layer.mlp_norm(attended))


class ModernBert(Encoder):
    """ModernBERT. A window counts positions of the text, not survivors."""

    in_graphs = False
    model_types = ("modernbert",)
    own_parts = ModernBertParts
    pooled_heads = POOLED_HEADS
    layer_list = "layers"
    block = "attn"
    layer_paths = LayerPaths(
        states=("attn.Wqkv",),
        output="attn.Wo",
        inner=("mlp.Wi",),
        activation="mlp.act",
        outer="mlp.Wo",
        norms=("attn_norm", "mlp_norm"),
        inner_pieces=2,
    )
    head_size = "head_dim"
    attention_dropout = "attention_dropout"
    base_dropouts = ("embeddings.drop",)
    layer_dropouts = ("attn.out_drop", "mlp.drop")

    def rotate(
        self, layer: Any, query: Tensor, key: Tensor, alive: Survivors, arguments: Mapping[str, Any], pooled: bool
    ) -> tuple[Tensor, Tensor]:
        return rotated(layer.attn, query, key, alive, arguments, (lambda table: table[:, :1]) if pooled else None)

    def bias(self, layer: Any, length: int, arguments: Mapping[str, Any]) -> Tensor | None:
        window = layer.attn.sliding_window  # one more than the farthest that is seen
        if window is None or length <= window:
            return None
        return outside(length, window, arguments["position_embeddings"][0].device)

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        for module in super().hidden_dropouts(model):
            if isinstance(module, nn.Dropout):  # nothing stands in its place where the config has none
                yield module

    def resize(self, layer: Any, heads: int) -> None:
        pass  # its modules see how many heads there are

    def reads(self, model: PreTrainedModel) -> str:
        return super().reads(model) if model.config.classifier_pooling == "cls" else ALL


def outside(length: int, window: int, device: torch.device) -> Tensor:
    """What hides tokens that are ``window`` positions or more apart: (1, 1, length, length), 0 for all others."""
    places = torch.arange(length, device=device)
    apart = (places[:, None] - places).abs() >= window
    return torch.zeros(length, length, device=device).masked_fill_(apart, FAR)[None, None]
