"""The attention of one layer: the fastest kernel, and what its tokens receive where somebody needs to know."""

import torch
from torch import Tensor, nn

from latadj.elimination.causal_attention import BLOCK, causal_products, joined, rows_of_heads

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
    causal: bool = False,
    bias: Tensor | None = None,
    observe: bool = False,
    window: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Contexts of the queries, and the attention that each key receives.

    Parameters
    ----------
    query : (batch, heads, queries, head_dim)
    key, value : (batch, key heads, keys, head_dim); heads are a multiple of key heads
    real : (batch, keys) True on real tokens, False on fillers, which stand last; None if all are real
    causal : whether query ``i`` sees the keys up to ``i`` only; there are as many queries as keys then
    bias : (batch or 1, heads, queries, keys) added to the products
    observe : whether somebody needs to know what each key receives; queries must be the keys then
    window : (batch, observed) columns of the queries from which it is received, below 0 = nobody; None: all real ones

    Returns
    -------
    (batch, queries, heads * head_dim), and (batch, key heads, keys) in float32, or None unless ``observe``
    """
    if causal and not dropout and query.dtype in BLOCK and _on_cpu_for_inference(query):
        return causal_products(query, key, value, scale, observe, window)
    if causal or key.shape[1] != query.shape[1]:
        received = received_from(query, key, window, scale) if observe else None
        return _fused(query, key, value, None if causal else real, scale, dropout, causal, bias), received
    if observe or _prefers_products(query):
        return _products(query, key, value, real, scale, dropout, bias, observe)
    return _fused(query, key, value, real, scale, dropout, causal, bias), None


def received_attention(probs: Tensor, real_queries: Tensor | None) -> Tensor:
    """Attention that each token receives from the real queries.

    Parameters
    ----------
    probs : (batch, heads, queries, keys) attention probabilities
    real_queries : (batch, queries) True on real tokens; None if all are real

    Returns
    -------
    (batch, heads, keys) column sums of ``probs`` over the real queries, float32
    """
    if real_queries is None:
        return probs.sum(dim=2, dtype=torch.float32)
    return torch.matmul(real_queries[:, None, None, :].to(probs.dtype), probs).squeeze(2).float()


@torch.no_grad()
def received_from(query: Tensor, key: Tensor, window: Tensor | None, scale: float) -> Tensor:
    """Attention that each token of a causal decoder receives from some of the queries.

    Parameters
    ----------
    query : (batch, heads, n, head_dim)
    key : (batch, key heads, n, head_dim)
    window : (batch, observed) columns of the queries, below 0 = nobody; None: all

    Returns
    -------
    (batch, key heads, n) summed over the queries and over the heads that share a key head, float32
    """
    batch, heads, n, size = query.shape
    groups = key.shape[1]
    if window is None:
        window = torch.arange(n, device=query.device).expand(batch, n)
    places = torch.arange(n, device=query.device)
    step = max(1, WORKSPACE // max(heads * window.shape[1] * n, 1))
    received = []
    for start in range(0, batch, step):
        columns = window[start : start + step]
        index = columns.clamp(min=0)[:, None, :, None].expand(-1, heads, -1, size)
        picked = query[start : start + step].gather(2, index).reshape(len(columns), groups, -1, size)
        logits = (picked @ key[start : start + step].mT).float() * scale
        logits = logits.view(len(columns), groups, heads // groups, -1, n)
        unseen = places > columns[:, None, None, :, None]
        probs = logits.masked_fill_(unseen & (columns >= 0)[:, None, None, :, None], -torch.inf).softmax(dim=-1)
        probs = probs * (columns >= 0)[:, None, None, :, None]
        received.append(probs.sum(dim=(2, 3)))
    return joined(received)


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    real: Tensor | None,
    scale: float,
    dropout: float,
    causal: bool,
    bias: Tensor | None,
) -> Tensor:
    mask = None if real is None else real[:, None, None, :].expand(-1, 1, query.shape[2], -1)
    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
    context = nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        scale=scale,
        is_causal=causal,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return context.transpose(1, 2).flatten(2)


def _products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    real: Tensor | None,
    scale: float,
    dropout: float,
    bias: Tensor | None,
    observe: bool,
) -> tuple[Tensor, Tensor | None]:
    """Attention by matrix products, whose probabilities say what each key receives from all real queries."""
    batch, heads, queries, _ = query.shape
    # Everything at once where gradients keep it anyway.
    step = batch if torch.is_grad_enabled() else max(1, WORKSPACE // (heads * queries * key.shape[2]))
    contexts, received = [], []
    for start in range(0, batch, step):
        part = slice(start, start + step)
        own_bias = bias if bias is None or len(bias) == 1 else bias[part]
        probs = _probabilities(query[part], key[part], None if real is None else real[part], scale, own_bias)
        if observe:
            received.append(received_attention(probs.detach(), None if real is None else real[part]))
        if dropout:
            probs = nn.functional.dropout(probs, dropout)
        context = torch.bmm(rows_of_heads(probs), rows_of_heads(value[part])).view(*probs.shape[:3], value.shape[3])
        contexts.append(context.transpose(1, 2).flatten(2))
    return joined(contexts), joined(received) if observe else None


def _probabilities(query: Tensor, key: Tensor, real: Tensor | None, scale: float, bias: Tensor | None) -> Tensor:
    # Scaled inside the product: one pass over the queries less.
    products = torch.baddbmm(query.new_zeros(()), rows_of_heads(query), rows_of_heads(key).mT, beta=0, alpha=scale)
    logits = products.view(*query.shape[:3], key.shape[2])
    if bias is not None:
        logits.add_(bias)
    if real is not None:
        logits = logits.masked_fill_(~real[:, None, None, :], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=-1)


def _on_cpu_for_inference(query: Tensor) -> bool:
    return query.device.type == "cpu" and not torch.is_grad_enabled()


def _prefers_products(query: Tensor) -> bool:
    # In bf16 a CPU's own matrix products beat its fused kernel (benchmarks/engine.py).
    return query.dtype == torch.bfloat16 and _on_cpu_for_inference(query)
