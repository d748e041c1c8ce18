"""DeBERTa-v2 and DeBERTa-v3: BERT's layers with disentangled attention, to which relative positions add by content.

The product of a query and a key has two more terms: the query with a vector of their distance (content to position),
and the key with another one (position to content). Distances are those of the text, whoever survived.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.closed_encoder import ClosedEncoder, Handed, handed
from latadj.elimination.architectures.encoders import POOLED_HEADS
from latadj.elimination.architectures.layer_parts import OwnParts
from latadj.elimination.architectures.pruned_forward import no_context
from latadj.elimination.layer_structure import LayerPaths, attends
from latadj.elimination.survivors import Survivors

# On a layer that is laid out for serving: its vectors of all distances.
_SETTLED = "_latadj_positions"
# Argument in which the encoder hands the layers what they need to know of distances.
BUCKETS = "buckets"


@dataclass(frozen=True)
class Buckets:
    """Which vector of relative positions each distance of a pass has; far ones share some.

    first, count : of the vectors that a text of this length can meet
    of_distance : (2 * n_0 - 1,) which of these, by :meth:`Survivors.distances`
    """

    first: int
    count: int
    of_distance: Tensor


class DebertaParts(OwnParts):
    """A DeBERTa layer in parts."""

    def qkv(self, rows: Tensor, query_rows: Tensor | None) -> tuple[Tensor, ...]:
        block = self.layer.attention.self
        own = rows if query_rows is None else query_rows
        return block.query_proj(own), block.key_proj(rows), block.value_proj(rows)

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        return self.layer.attention.output(context, residual)

    def feed_forward(self, attended: Tensor) -> Tensor:
        return self.layer.output(self.layer.intermediate(attended), attended)


def hand_on(encoder: Any, hidden_states: Tensor, attention_mask: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The encoder's forward, whose place for relative positions carries what the base handed on."""
    if carried := handed():
        # Who is real travels in the state: no mask of all pairs is made.
        attention_mask = attention_mask.new_ones(1, 1, 1, 1)
        buckets = buckets_of(encoder, hidden_states.shape[1], hidden_states.device)
        kwargs["relative_pos"] = Handed({**carried, BUCKETS: buckets})
    return type(encoder).forward(encoder, hidden_states, attention_mask, *args, **kwargs)


class DebertaV2(ClosedEncoder):
    """DeBERTa-v2 and v3. FLOPs leave out vectors of distances: a lowered model has them once for all texts."""

    model_types = ("deberta-v2",)
    own_parts = DebertaParts
    encoder_forward = staticmethod(hand_on)
    post_norm = True
    pooled_heads = POOLED_HEADS
    layer_list = "encoder.layer"
    block = "attention.self"
    layer_paths = LayerPaths(
        states=("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
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
        if self.base(model).encoder.conv is not None:
            raise ValueError(
                f"conv_kernel_size={model.config.conv_kernel_size}: this {type(model).__name__} has a convolution over "
                "neighbours behind its first layer, as DeBERTa-v2-xlarge has, which a layer that eliminates cannot "
                "feed: take a DeBERTa without one, such as DeBERTa-v3"
            )

    def unmasked(self, mask: Tensor) -> Tensor | None:
        return torch.ones_like(mask)  # transformers would warn of padding without a mask

    def paths(self, layer: Any) -> LayerPaths:
        names = ("pos_key_proj", "pos_query_proj")
        own = tuple(f"{self.block}.{name}" for name in names if hasattr(layer.attention.self, name))
        return replace(self.layer_paths, positions=own) if own else self.layer_paths

    def attention(self, layer: Any) -> tuple[float, float]:
        block = layer.attention.self
        terms = 1 + len({"c2p", "p2c"}.intersection(block.pos_att_type))
        return (block.attention_head_size * terms) ** -0.5, block.dropout.p if block.training else 0.0

    def bias(self, layer: Any, length: int, arguments: Mapping[str, Any]) -> Tensor | None:
        buckets: Buckets | None = arguments[BUCKETS]
        if buckets is None:
            return None
        rows: Tensor = arguments["rel_embeddings"]
        return rows[buckets.first : buckets.first + buckets.count]

    def pairs(
        self,
        layer: Any,
        bias: Tensor | None,
        query: Tensor,
        key: Tensor,
        alive: Survivors,
        arguments: Mapping[str, Any],
    ) -> Tensor | None:
        if bias is None:
            return None
        block, settled = layer.attention.self, layer.__dict__.get(_SETTLED)
        buckets: Buckets = arguments[BUCKETS]
        if settled is None:
            by_key, by_query = position_heads(block, block.pos_dropout(bias))
        else:
            meets = slice(buckets.first, buckets.first + buckets.count)
            by_key, by_query = (None if heads is None else heads[:, meets] for heads in settled)
        index = buckets.of_distance[alive.distances(query.shape[2])][:, None]
        index = index.expand(query.shape[0], query.shape[1], -1, -1)
        scores = None
        if by_key is not None:
            scores = torch.einsum("bhqd,hpd->bhqp", query, by_key.to(query.dtype)).gather(3, index)
        if by_query is not None:
            to_content = torch.einsum("bhkd,hpd->bhkp", key, by_query.to(key.dtype)).gather(3, index.mT).mT
            scores = to_content if scores is None else scores + to_content
        return None if scores is None else scores * self.attention(layer)[0]

    def settle(self, base: Any, layer: Any) -> None:
        if attends(layer) and base.encoder.relative_attention:
            layer.__dict__[_SETTLED] = position_heads(layer.attention.self, base.encoder.get_rel_embedding())

    def result(self, hidden: Tensor, bias: Tensor | None) -> Any:
        return hidden, None

    def hidden_dropouts(self, model: PreTrainedModel) -> Iterator[nn.Dropout]:
        yield from super().hidden_dropouts(model)
        for layer in self.layers(self.base(model)):
            if layer.attention.self.relative_attention:
                yield layer.attention.self.pos_dropout

    def pruned_forward(self, layer: Any) -> Any:
        return None if attends(layer) else no_context

    def resize(self, layer: Any, heads: int) -> None:
        block = layer.attention.self
        block.num_attention_heads, block.all_head_size = heads, heads * block.attention_head_size


def buckets_of(encoder: Any, length: int, device: torch.device) -> Buckets | None:
    """Which vectors the distances in texts of a length have; None: the model knows no relative positions."""
    if not encoder.relative_attention:
        return None
    span = encoder.position_buckets if encoder.position_buckets > 0 else encoder.max_relative_positions
    build = sys.modules[type(encoder).__module__].build_relative_position
    buckets = _on_host(build, length, span, encoder.position_buckets, encoder.max_relative_positions)
    return replace(buckets, of_distance=buckets.of_distance.to(device))


@lru_cache(maxsize=1024)
@torch.inference_mode(False)
def _on_host(
    build: Callable[..., Tensor], length: int, span: int, position_buckets: int, max_relative_positions: int
) -> Buckets:
    """:func:`buckets_of` on the host, which must know how many there are; remembered, since texts have few lengths.

    Parameters
    ----------
    build : transformers' own function, which looks at sizes only
    span : half the vectors of the model's table
    """
    one, everyone = (torch.empty(1, count, 1, device="cpu") for count in (1, length))
    ahead, behind = (
        build(*pair, position_buckets, max_relative_positions) for pair in ((everyone, one), (one, everyone))
    )
    index = (torch.cat([ahead.flatten().flip(0), behind.flatten()[1:]]) + span).clamp(0, 2 * span - 1)
    first = int(index.min())
    return Buckets(first, int(index.max()) - first + 1, index - first)


def position_heads(block: Any, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Vectors of distances by heads, which meet queries and which meet keys: (heads, buckets, head_dim) each, or None.

    Parameters
    ----------
    block : the attention module
    rows : (buckets, width) of the model's table of relative positions
    """

    def by_heads(linear: Any) -> Tensor:
        split: Tensor = linear(rows).unflatten(1, (-1, block.attention_head_size))
        return split.transpose(0, 1)

    shared = block.share_att_key
    return (
        by_heads(block.key_proj if shared else block.pos_key_proj) if "c2p" in block.pos_att_type else None,
        by_heads(block.query_proj if shared else block.pos_query_proj) if "p2c" in block.pos_att_type else None,
    )
