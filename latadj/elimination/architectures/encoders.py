"""Encoders with learned positions, the norm after each block, and the first position pooled."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import LOWERED, Architecture, split_heads
from latadj.elimination.architectures.pruned_forward import no_context
from latadj.elimination.cost import ALL, LayerShape
from latadj.elimination.layer_structure import PrunablePaths, attends
from latadj.elimination.survivors import Survivors
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowered import AddNorm, LinearModule, LoweredLayer, QKVLinear


@dataclass(frozen=True)
class Names:
    """Where a layer keeps its attention, linear maps, activation and norms: paths below the layer."""

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
    """What these encoders have in common; a architecture adds where its parts are and how its own modules run them."""

    pooled_heads: tuple[str, ...] = ("ForSequenceClassification", "ForMultipleChoice")
    names: Names

    def attention_block(self, layer: Any) -> Any:
        """The module with the query, key and value maps and the dropout of the probabilities."""
        return attrgetter(self.names.block)(layer)

    def states(
        self, layer: Any, rows: Tensor, asking: Tensor | None, alive: Survivors, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = self.attention_block(layer).attention_head_size
        lowered = layer.__dict__.get(LOWERED)
        query, key, value = self.run_states(layer, rows, asking) if lowered is None else lowered.states(rows, asking)
        query = alive.frame(query) if asking is None else query[:, None]
        return split_heads(query, size), split_heads(alive.frame(key), size), split_heads(alive.frame(value), size)

    @abstractmethod
    def run_states(self, layer: Any, rows: Tensor, asking: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of ``asking`` (None: of ``rows``), keys and values, by the layer's own maps."""

    def attention(self, layer: Any) -> tuple[float, float]:
        block = self.attention_block(layer)
        return block.attention_head_size**-0.5, block.dropout.p if block.training else 0.0

    def drop_attention(self, layer: Any, share: float) -> float:
        dropout = self.attention_block(layer).dropout
        before, dropout.p = dropout.p, share
        return float(before)

    def project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        return self.run_project(layer, context, residual) if lowered is None else lowered.project(context, residual)

    @abstractmethod
    def run_project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        """:meth:`project`, by the layer's own modules."""

    def feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        lowered = layer.__dict__.get(LOWERED)
        return self.run_feed_forward(layer, attended) if lowered is None else lowered.feed_forward(attended)

    @abstractmethod
    def run_feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        """:meth:`feed_forward`, by the layer's own modules."""

    def lower(self, layer: Any, route: KernelSpec, trims: bool) -> None:
        names = self.names
        query, key, value = (attrgetter(path)(layer) for path in (names.query, names.key, names.value))
        states = QKVLinear(route, query, key, value, separate_query=trims)
        activation = attrgetter(names.activation)(layer)
        kind = type(activation).__name__
        fused = kind if route.fuses(kind) else None
        inner = route.pack(attrgetter(names.inner)(layer), activation=fused)
        output, outer = (route.pack(attrgetter(path)(layer)) for path in (names.output, names.outer))
        query, key, value = states.parts()
        replaced: dict[str, nn.Module] = {
            **{names.query: query, names.key: key, names.value: value},
            **{names.output: LinearModule(output), names.inner: LinearModule(inner), names.outer: LinearModule(outer)},
        }
        if fused:
            replaced[names.activation] = activation = nn.Identity()
        for path, module in replaced.items():
            layer.set_submodule(path, module)
        layer.__dict__[LOWERED] = LoweredLayer(
            states=states,
            inner=inner,
            activation=activation,
            project=AddNorm(output, attrgetter(names.attended_norm)(layer)),
            outer=AddNorm(outer, attrgetter(names.final_norm)(layer)),
        )

    def shape(self, layer: Any) -> LayerShape:
        def weights(*paths: str) -> int:
            return sum(int(attrgetter(path)(layer).weight.numel()) for path in paths)

        names = self.names
        return LayerShape(
            query=weights(names.query),
            key_value=weights(names.key, names.value),
            output=weights(names.output),
            feed_forward=weights(names.inner, names.outer),
            attention=attrgetter(names.query)(layer).out_features,
        )

    def anatomy(self, layer: Any) -> PrunablePaths:
        names, size = self.names, self.attention_block(layer).attention_head_size
        return PrunablePaths(
            block=names.block,
            states=(names.query, names.key, names.value),
            per_head=(size, size, size),
            output=names.output,
            head_inputs=size,
            inner=(names.inner,),
            outer=names.outer,
        )


class Bert(Encoder):
    """BERT, and those whose layers are copies of BERT's."""

    model_types = ("bert", "roberta", "xlm-roberta", "electra")
    pooled_heads = (*Encoder.pooled_heads, "ForNextSentencePrediction")
    names = Names(
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

    def run_states(self, layer: Any, rows: Tensor, asking: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        block = layer.attention.self
        return block.query(rows if asking is None else asking), block.key(rows), block.value(rows)

    def run_project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        return layer.attention.output(context, residual)

    def run_feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        return layer.feed_forward_chunk(attended)

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


class DistilBert(Encoder):
    """DistilBERT: BERT's computation, laid out otherwise."""

    model_types = ("distilbert",)
    names = Names(
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

    def run_states(self, layer: Any, rows: Tensor, asking: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        block = layer.attention
        return block.q_lin(rows if asking is None else asking), block.k_lin(rows), block.v_lin(rows)

    def run_project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        return layer.sa_layer_norm(layer.attention.out_lin(context) + residual)

    def run_feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        # Not `ffn` itself, which would look for chunks along the second dimension of a batch.
        return layer.output_layer_norm(layer.ffn.ff_chunk(attended) + attended)

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        base = self.base(model)
        yield base.embeddings.dropout
        for layer in self.layers(base):
            yield layer.ffn.dropout
