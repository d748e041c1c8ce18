"""Encoders with learned positions, the norm after each block, and the first position pooled."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import LAST, Architecture, is_of_transformers
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.pruned_forward import no_context
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.layer_structure import LayerPaths, attends

# Endings of the head classes that read the first position, in all of these.
POOLED_HEADS = ("ForSequenceClassification", "ForMultipleChoice")


class Encoder(Architecture):
    """Encoders whose pooled position is the first."""

    # Whether their positions are in the hidden state alone, as exported graphs have them.
    in_graphs = True

    def heads(self, model: PreTrainedModel, reads: str) -> Iterator[tuple[nn.Module, str, Any]]:
        # A head of the user's own need not hand arguments on, so there the base reads as it was attached.
        if reads == POOLED and is_of_transformers(model) and model is not self.base(model):
            yield model, "forward", read_first


def read_first(model: Any, *args: Any, **kwargs: Any) -> Any:
    """A classifier's forward, which tells the base that it reads one position of each text."""
    return type(model).forward(model, *args, **kwargs, **{LAST: 0})


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

    model_types = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
    own_parts = BertParts
    post_norm = True
    pooled_heads = (*POOLED_HEADS, "ForNextSentencePrediction")
    layer_list = "encoder.layer"
    block = "attention.self"
    layer_paths = LayerPaths(
        states=("attention.self.query", "attention.self.key", "attention.self.value"),
        output="attention.output.dense",
        inner=("intermediate.dense",),
        activation="intermediate.intermediate_act_fn",
        outer="output.dense",
        norms=("attention.output.LayerNorm", "output.LayerNorm"),
    )
    head_size = "attention_head_size"
    attention_dropout = "dropout.p"
    base_dropouts = ("embeddings.dropout",)
    layer_dropouts = ("attention.output.dropout", "output.dropout")

    def check(self, model: PreTrainedModel) -> None:
        if model.config.is_decoder:
            raise ValueError(
                f"a {type(model).__name__} with is_decoder=true generates text: elimination supports encoders of its "
                "kind only"
            )

    def pruned_forward(self, layer: Any) -> Any:
        return None if attends(layer) else no_context

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.attention.self
        block.num_attention_heads, block.all_head_size = heads, heads * block.attention_head_size

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
    post_norm = True
    pooled_heads = POOLED_HEADS
    layer_list = "transformer.layer"
    block = "attention"
    layer_paths = LayerPaths(
        states=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        output="attention.out_lin",
        inner=("ffn.lin1",),
        activation="ffn.activation",
        outer="ffn.lin2",
        norms=("sa_layer_norm", "output_layer_norm"),
    )
    head_size = "attention_head_size"
    attention_dropout = "dropout.p"
    base_dropouts = ("embeddings.dropout",)
    layer_dropouts = ("ffn.dropout",)

    def resize(self, layer: Any, heads: int) -> None:
        layer.attention.n_heads = heads
