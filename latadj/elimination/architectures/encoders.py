"""Encoders with learned positions, the norm after each block, and the first position pooled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import Architecture, split_heads
from latadj.elimination.architectures.pruned_forward import no_context
from latadj.elimination.cost import ALL, LayerShape
from latadj.elimination.layer_parts import OwnParts
from latadj.elimination.layer_structure import PrunablePaths, attends
from latadj.elimination.survivors import Survivors


@dataclass(frozen=True)
class EncoderPaths:
    """Where a layer keeps its attention, linear layers, activation and norms: paths below the layer."""

    block: str
    query: str
    key: str
    value: str
    output: str
    attended_norm: str
    inner: str
    activation: str
    outer: str
    final_norm: str


class Encoder(Architecture):
    """What these encoders have in common; an architecture adds where its parts are and how its own modules run them."""

    pooled_heads: tuple[str, ...] = ("ForSequenceClassification", "ForMultipleChoice")
    paths: EncoderPaths

    def attention_block(self, layer: Any) -> Any:
        """The module with the query, key and value layers and the dropout of the probabilities."""
        return attrgetter(self.paths.block)(layer)

    def states(
        self,
        layer: Any,
        qkv: tuple[Tensor, ...],
        alive: Survivors,
        arguments: Mapping[str, Any],
        pooled: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = self.attention_block(layer).attention_head_size
        query, key, value = qkv
        query = query[:, None] if pooled else alive.frame(query)
        return split_heads(query, size), split_heads(alive.frame(key), size), split_heads(alive.frame(value), size)

    def attention(self, layer: Any) -> tuple[float, float]:
        block = self.attention_block(layer)
        return block.attention_head_size**-0.5, block.dropout.p if block.training else 0.0

    def drop_attention(self, layer: Any, share: float) -> float:
        dropout = self.attention_block(layer).dropout
        before, dropout.p = dropout.p, share
        return float(before)

    def shape(self, layer: Any) -> LayerShape:
        def weights(*paths: str) -> int:
            return sum(int(attrgetter(path)(layer).weight.numel()) for path in paths)

        paths = self.paths
        return LayerShape(
            query=weights(paths.query),
            key_value=weights(paths.key, paths.value),
            output=weights(paths.output),
            feed_forward=weights(paths.inner, paths.outer),
            attention=attrgetter(paths.query)(layer).out_features,
        )

    def prunable_paths(self, layer: Any) -> PrunablePaths:
        paths, size = self.paths, self.attention_block(layer).attention_head_size
        return PrunablePaths(
            block=paths.block,
            states=(paths.query, paths.key, paths.value),
            per_head=(size, size, size),
            output=paths.output,
            head_inputs=size,
            inner=(paths.inner,),
            outer=paths.outer,
        )


class BertParts(OwnParts):
    """A BERT layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block = self.layer.attention.self
        return block.query(rows if query_rows is None else query_rows), block.key(rows), block.value(rows)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        return self.layer.attention.output(context, residual)

    def feed_forward(self, attended: Tensor) -> Tensor:
        return self.layer.feed_forward_chunk(attended)


class Bert(Encoder):
    """BERT, and those whose layers are copies of BERT's."""

    model_types = ("bert", "roberta", "xlm-roberta", "electra")
    own_parts = BertParts
    pooled_heads = (*Encoder.pooled_heads, "ForNextSentencePrediction")
    paths = EncoderPaths(
        block="attention.self",
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        output="attention.output.dense",
        attended_norm="attention.output.LayerNorm",
        inner="intermediate.dense",
        activation="intermediate.intermediate_act_fn",
        outer="output.dense",
        final_norm="output.LayerNorm",
    )

    def check(self, model: PreTrainedModel) -> None:
        if model.config.is_decoder:
            raise ValueError(
                f"a {type(model).__name__} with is_decoder=true generates text: elimination supports encoders of its "
                "kind only"
            )

    def layers(self, base: Any) -> Any:
        return base.encoder.layer

    def pruned_forward(self, layer: Any) -> Any:
        return None if attends(layer) else no_context

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.attention.self
        block.num_attention_heads, block.all_head_size = heads, heads * block.attention_head_size

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        base = self.base(model)
        yield base.embeddings.dropout
        for layer in self.layers(base):
            yield from (layer.attention.output.dropout, layer.output.dropout)

    def reads(self, model: PreTrainedModel) -> str:
        # ELECTRA's head for multiple choice sums a sequence up as its config says.
        summary = getattr(model, "sequence_summary", None)
        if summary is not None and summary.summary_type != "first":
            return ALL
        return super().reads(model)


class DistilBertParts(OwnParts):
    """A DistilBERT layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block = self.layer.attention
        return block.q_lin(rows if query_rows is None else query_rows), block.k_lin(rows), block.v_lin(rows)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        return self.layer.sa_layer_norm(self.layer.attention.out_lin(context) + residual)

    def feed_forward(self, attended: Tensor) -> Tensor:
        # Not `ffn` itself, which would look for chunks along the second dimension of a batch.
        return self.layer.output_layer_norm(self.layer.ffn.ff_chunk(attended) + attended)


class DistilBert(Encoder):
    """DistilBERT: BERT's computation, laid out otherwise."""

    model_types = ("distilbert",)
    own_parts = DistilBertParts
    paths = EncoderPaths(
        block="attention",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        output="attention.out_lin",
        attended_norm="sa_layer_norm",
        inner="ffn.lin1",
        activation="ffn.activation",
        outer="ffn.lin2",
        final_norm="output_layer_norm",
    )

    def layers(self, base: Any) -> Any:
        return base.transformer.layer

    def resize(self, layer: Any, heads: int) -> None:
        layer.attention.n_heads = heads

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        base = self.base(model)
        yield base.embeddings.dropout
        for layer in self.layers(base):
            yield layer.ffn.dropout
