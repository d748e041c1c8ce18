"""What top-k attention computes, by an independent way: plain transformers with an attention of our own.

Every query sorts the keys that it sees and lets go of all but the first, key by key; no code of latadj runs.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from latadj.elimination.architectures import layers_of

NAME = "topk_reference"
# Below this an additive mask hides.
HIDDEN = torch.finfo(torch.float32).min / 2


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    times = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        logits = logits + position_bias
    seen = torch.ones_like(logits, dtype=torch.bool)
    if attention_mask is not None:
        seen = seen & (attention_mask > HIDDEN)
    logits = logits.masked_fill(~seen, HIDDEN)
    k = getattr(module, NAME, None)
    if k is not None:
        logits = logits.masked_fill(~_topk(logits.detach(), seen, k), HIDDEN)
    probs = logits.softmax(dim=-1)
    received = getattr(module, f"{NAME}_received", None)
    if received is not None:
        received.append((probs, value))
    probs = nn.functional.dropout(probs, dropout, module.training)
    return (probs @ value).transpose(1, 2).contiguous(), probs


def _topk(logits: Tensor, seen: Tensor, k: int | float) -> Tensor:
    chosen = torch.zeros(logits.shape, dtype=torch.bool)
    table, visibles = logits.flatten(0, -2).tolist(), seen.flatten(0, -2).tolist()
    for row, visible, keep in zip(table, visibles, chosen.view(-1, logits.shape[-1]), strict=True):
        places = [place for place, sees in enumerate(visible) if sees]
        count = k if isinstance(k, int) else math.ceil(k * len(places) - 1e-6)
        for place in sorted(places, key=lambda place: -row[place])[:count]:
            keep[place] = True
    return chosen


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, eager_mask)


@contextmanager
def with_topk(model: PreTrainedModel, layers: tuple[int | float | None, ...]) -> Iterator[list[Any]]:
    """Let a plain model attend to so many keys in each layer; gives (probabilities, values) of the first layer."""
    if model.config.model_type in ("mpnet", "deberta-v2"):
        pytest.skip(f"transformers lets nobody replace the attention of a {type(model).__name__}")
    if len(set(layers_of(model))) < len(layers):
        pytest.skip("one module is several layers, and has one k here")
    before, received = model.config._attn_implementation, []
    model.set_attn_implementation(NAME)
    modules = [(module, k) for layer, k in zip(layers_of(model), layers, strict=True) for module in layer.modules()]
    for module, k in modules:
        module.__dict__[NAME] = k
    for module in layers_of(model)[0].modules():
        module.__dict__[f"{NAME}_received"] = received
    try:
        yield received
    finally:
        model.set_attn_implementation(before)
        for module, _ in modules:
            module.__dict__.pop(NAME)
            module.__dict__.pop(f"{NAME}_received", None)
