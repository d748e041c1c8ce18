"""What differs between model families: how one transformers layer runs in parts, and what its maps cost.

A layer runs as ``attend`` -> (elimination) -> ``project`` -> ``feed_forward``. Each part calls the layer's own
submodules; no modelling code is repeated here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertCrossAttention
from transformers.pytorch_utils import apply_chunking_to_forward

from latadj.elimination.cost import ALL, POOLED, LayerShape


class Family(ABC):
    """How the layers of one model family run in parts."""

    model_types: tuple[str, ...]
    # Endings of the head classes that read the pooled position only.
    pooled_heads: tuple[str, ...]

    @abstractmethod
    def layers(self, base: PreTrainedModel) -> Sequence[Any]:
        """The transformer layers of a base model, in order."""

    @abstractmethod
    def attend(self, layer: Any, hidden: Tensor, mask: Tensor | None, queries: Tensor | None, **kwargs: Any) -> Tensor:
        """Contexts of the attention block, before its output map.

        Parameters
        ----------
        hidden : (batch, n, width) what enters the layer
        mask : (batch, 1, n or 1, n) boolean, True = may be seen; None if all are real
        queries : (batch, m, width) word-vectors that ask; None means all of ``hidden``
        kwargs : passed on to the attention function

        Returns
        -------
        (batch, n or m, width)
        """

    @abstractmethod
    def project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        """Output map of the attention block, its residual and norm: two (batch, n, width) to one."""

    @abstractmethod
    def feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        """Feed-forward block with its residual and norm: (batch, n, width) to the same."""

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

    def attend(self, layer: Any, hidden: Tensor, mask: Tensor | None, queries: Tensor | None, **kwargs: Any) -> Tensor:
        block = layer.attention.self
        if queries is None:
            return block(hidden, mask, **kwargs)[0]
        # Self-attention of a few positions is cross-attention from them to the sequence; transformers' own
        # cross-attention needs nothing but the maps that the self-attention module has too.
        return BertCrossAttention.forward(block, queries, encoder_hidden_states=hidden, attention_mask=mask, **kwargs)[
            0
        ]

    def project(self, layer: Any, context: Tensor, residual: Tensor) -> Tensor:
        return layer.attention.output(context, residual)

    def feed_forward(self, layer: Any, attended: Tensor) -> Tensor:
        return apply_chunking_to_forward(
            layer.feed_forward_chunk, layer.chunk_size_feed_forward, layer.seq_len_dim, attended
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
