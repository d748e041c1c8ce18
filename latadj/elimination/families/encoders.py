"""Encoders whose pooled position is the first: BERT."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.cost import LayerShape
from latadj.elimination.families.base import LOWERED, Family, split_heads
from latadj.elimination.maps import AddNorm, LoweredLayer, Part, Route, StateMaps
from latadj.elimination.survivors import Survivors


class Bert(Family):
    """Encoders with learned positions and the norm after each block."""

    model_types = ("bert",)
    pooled_heads = ("ForSequenceClassification", "ForMultipleChoice", "ForNextSentencePrediction")

    def check(self, model: PreTrainedModel) -> None:
        if model.config.is_decoder:
            raise ValueError("a BERT with is_decoder=true generates text: elimination supports BERT encoders only")

    def layers(self, base: Any) -> Sequence[Any]:
        return base.encoder.layer

    def states(
        self, layer: Any, rows: Tensor, asking: Tensor | None, alive: Survivors, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        block = layer.attention.self
        size = block.attention_head_size
        lowered = layer.__dict__.get(LOWERED)
        if lowered is not None:
            query, key, value = lowered.states(rows, asking)
        else:
            query, key, value = block.query(rows if asking is None else asking), block.key(rows), block.value(rows)
        query = alive.frame(query) if asking is None else query[:, None]
        return split_heads(query, size), split_heads(alive.frame(key), size), split_heads(alive.frame(value), size)

    def attention(self, layer: Any) -> tuple[float, float]:
        block = layer.attention.self
        return block.attention_head_size**-0.5, block.dropout.p if block.training else 0.0

    def project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        return layer.attention.output(context, residual) if lowered is None else lowered.project(context, residual)

    def feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        return layer.feed_forward_chunk(attended) if lowered is None else lowered.feed_forward(attended)

    def lower(self, layer: Any, route: Route, trims: bool) -> None:
        block, inner = layer.attention.self, layer.intermediate
        states = StateMaps(route, block.query, block.key, block.value, separate_query=trims)
        block.query, block.key, block.value = states.parts()
        activation = type(inner.intermediate_act_fn).__name__
        fused = activation if route.fuses(activation) else None
        maps = [
            route.pack(inner.dense, activation=fused),
            route.pack(layer.attention.output.dense),
            route.pack(layer.output.dense),
        ]
        inner.dense, layer.attention.output.dense, layer.output.dense = (Part(one) for one in maps)
        if fused:
            inner.intermediate_act_fn = nn.Identity()
        layer.__dict__[LOWERED] = LoweredLayer(
            states=states,
            inner=maps[0],
            activation=inner.intermediate_act_fn,
            project=AddNorm(maps[1], layer.attention.output.LayerNorm),
            outer=AddNorm(maps[2], layer.output.LayerNorm),
        )

    def shape(self, layer: Any) -> LayerShape:
        block = layer.attention.self
        return LayerShape(
            query=block.query.weight.numel(),
            key_value=block.key.weight.numel() + block.value.weight.numel(),
            output=layer.attention.output.dense.weight.numel(),
            feed_forward=layer.intermediate.dense.weight.numel() + layer.output.dense.weight.numel(),
            attention=block.all_head_size,
        )

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        base = self.base(model)
        yield base.embeddings.dropout
        for layer in self.layers(base):
            yield from (layer.attention.output.dropout, layer.output.dropout)
