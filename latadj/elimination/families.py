"""What differs between model families: how one transformers layer runs in parts, and what its maps cost.

A layer runs as ``attend`` -> (elimination) -> ``project`` -> ``feed_forward``. Each part calls the layer's own
submodules; no modelling code is repeated here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.attention import Receive, attention
from latadj.elimination.cost import ALL, POOLED, LayerShape
from latadj.elimination.maps import AddNorm, LoweredLayer, Part, Route, StateMaps
from latadj.elimination.survivors import Survivors

# Where a lowered layer keeps its parts.
LOWERED = "_latadj_lowered"


class Family(ABC):
    """How the layers of one model family run in parts."""

    model_types: tuple[str, ...]
    # Endings of the head classes that read the pooled position only.
    pooled_heads: tuple[str, ...]

    @abstractmethod
    def layers(self, base: PreTrainedModel) -> Sequence[Any]:
        """The transformer layers of a base model, in order."""

    @abstractmethod
    def attend(
        self, layer: Any, rows: Tensor, asking: Tensor | None, alive: Survivors, receive: Receive | None
    ) -> Tensor:
        """Contexts of the attention block, before its output map.

        Parameters
        ----------
        rows : (word-vectors, width) what enters the layer
        asking : (batch, width) the one word-vector of each sequence that asks; None means all of ``rows``
        alive : how the rows divide into sequences
        receive : handed the attention that each word-vector receives, where scores are wanted

        Returns
        -------
        (word-vectors, width), or (batch, width) if only some ask
        """

    @abstractmethod
    def project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        """Output map of the attention block, its residual and norm: two (rows, width) to one."""

    @abstractmethod
    def feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual and norm: (rows, width) to the same."""

    @abstractmethod
    def lower(self, layer: Any, route: Route, trims: bool) -> None:
        """Put a route's maps in the place of the layer's own.

        Parameters
        ----------
        trims : whether only the pooled position asks in this layer
        """

    @abstractmethod
    def shape(self, layer: Any) -> LayerShape:
        """Weights of the layer's linear maps."""

    @abstractmethod
    def hidden_dropouts(self, base: PreTrainedModel) -> Iterator[nn.Dropout]:
        """The dropouts of the hidden state; those of attention probabilities are not among them."""

    def reads(self, model: PreTrainedModel) -> str:
        """``pooled`` if the model's head reads the pooled position only, else ``all``."""
        return POOLED if type(model).__name__.endswith(self.pooled_heads) else ALL


class Bert(Family):
    """Encoders with learned positions and the norm after each block; the pooled position is the first."""

    model_types = ("bert",)
    pooled_heads = ("ForSequenceClassification", "ForMultipleChoice", "ForNextSentencePrediction")

    def layers(self, base: PreTrainedModel) -> Sequence[Any]:
        if base.config.is_decoder:
            raise ValueError("a BERT with is_decoder=true generates text: elimination supports BERT encoders only")
        return base.encoder.layer

    def attend(
        self, layer: Any, rows: Tensor, asking: Tensor | None, alive: Survivors, receive: Receive | None
    ) -> Tensor:
        block = layer.attention.self
        heads, size = block.num_attention_heads, block.attention_head_size
        lowered = layer.__dict__.get(LOWERED)
        if lowered is not None:
            query, key, value = lowered.states(rows, asking)
        else:
            query, key, value = block.query(rows if asking is None else asking), block.key(rows), block.value(rows)

        def split(states: Tensor) -> Tensor:
            return states.view(*states.shape[:2], heads, size).transpose(1, 2)

        context = attention(
            split(alive.frame(query) if asking is None else query[:, None]),
            split(alive.frame(key)),
            split(alive.frame(value)),
            alive.real,
            scale=size**-0.5,
            dropout=block.dropout.p if block.training else 0.0,
            receive=receive,
        )
        return alive.rows(context) if asking is None else context[:, 0]

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

    def hidden_dropouts(self, base: PreTrainedModel) -> Iterator[nn.Dropout]:
        yield base.embeddings.dropout
        for layer in self.layers(base):
            yield from (layer.attention.output.dropout, layer.output.dropout)


FAMILIES: tuple[Family, ...] = (Bert(),)


def family_of(model: PreTrainedModel) -> Family:
    """The family of a model.

    Raises
    ------
    ValueError
        if no family handles the model's type.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.model_types)
    raise ValueError(f"model type {model_type!r} is not supported: expected one of {known}")


def layer_shapes(model: PreTrainedModel) -> tuple[LayerShape, ...]:
    """Shapes of the linear maps of each layer of a model."""
    family = family_of(model)
    return tuple(family.shape(layer) for layer in family.layers(model.base_model))
