"""The attention of one layer: transformers' fastest kernel, or probabilities where somebody must read them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Called with the attention each key receives, (batch, heads, keys); see `score.received_attention`.
Receive = Callable[[Tensor, Tensor], None]
# Probabilities of as many sequences as fit are made at a time: they stay in cache, and memory stays bounded.
WORKSPACE = 4 * 2**20


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    real: Tensor | None,
    *,
    scale: float,
    dropout: float = 0.0,
    receive: Receive | None = None,
) -> Tensor:
    """Contexts of the queries.

    Parameters
    ----------
    query : (batch, heads, queries, head_dim)
    key, value : (batch, heads, keys, head_dim)
    real : (batch, keys) True on real word-vectors, False on fillers; None if all are real
    receive : called with the attention that each key receives from the real queries, (batch, heads, keys) in
        float32, and with ``value``; queries must be the keys then

    Returns
    -------
    (batch, queries, heads * head_dim)
    """
    if receive is None and not _prefers_products(query):
        mask = None if real is None else real[:, None, None, :].expand(-1, 1, query.shape[2], -1)
        context = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale
        )
        return context.transpose(1, 2).flatten(2)
    batch, heads, queries, _ = query.shape
    size = heads * queries * key.shape[2]
    step = batch if torch.is_grad_enabled() else max(1, WORKSPACE // size)
    contexts, received = [], []
    for start in range(0, batch, step):
        part = slice(start, start + step)
        probs = _probabilities(query[part], key[part], None if real is None else real[part], scale)
        if receive is not None:
            received.append(received_attention(probs.detach(), None if real is None else real[part]))
        if dropout:
            probs = nn.functional.dropout(probs, dropout)
        context = torch.bmm(_heads(probs), _heads(value[part])).view(*probs.shape[:3], value.shape[3])
        contexts.append(context.transpose(1, 2).flatten(2))
    if receive is not None:
        receive(_joined(received), value.detach())
    return _joined(contexts)


def received_attention(probs: Tensor, real_queries: Tensor | None) -> Tensor:
    """Attention that each word-vector receives from the real queries.

    Parameters
    ----------
    probs : (batch, heads, queries, keys) attention probabilities
    real_queries : (batch, queries) True on real word-vectors; None if all are real

    Returns
    -------
    (batch, heads, keys) column sums of ``probs`` over the real queries, float32
    """
    if real_queries is None:
        return probs.sum(dim=2, dtype=torch.float32)
    return torch.matmul(real_queries[:, None, None, :].to(probs.dtype), probs).squeeze(2).float()


def _prefers_products(query: Tensor) -> bool:
    # In bf16 a CPU's own matrix products beat its fused kernel (benchmarks/engine.py).
    return query.dtype == torch.bfloat16 and query.device.type == "cpu" and not torch.is_grad_enabled()


def _probabilities(query: Tensor, key: Tensor, real: Tensor | None, scale: float) -> Tensor:
    # Scaled inside the product: one pass over the queries less.
    products = torch.baddbmm(query.new_zeros(()), _heads(query), _heads(key).mT, beta=0, alpha=scale)
    logits = products.view(*query.shape[:3], key.shape[2])
    if real is not None:
        logits.masked_fill_(~real[:, None, None, :], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=-1)


def _heads(states: Tensor) -> Tensor:
    return states.reshape(-1, *states.shape[2:])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
