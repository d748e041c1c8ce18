"""The attention of one layer: the fastest kernel, and what its tokens receive where somebody must know."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latadj.kernels.linear import even

# Probabilities of as many sequences as fit are made at a time: they stay in cache, and memory stays bounded.
WORKSPACE = 4 * 2**20
# A causal pass by products goes through the queries in blocks of so many, for a workspace of so many probabilities.
BLOCK = {torch.float32: 32, torch.bfloat16: 64}
BLOCK_WORKSPACE = 2**18


@dataclass(frozen=True)
class Listener:
    """Who wants to know what tokens receive, and from whom.

    queries : (batch, asked) columns of the frame whose queries are asked, below 0 = nobody; None asks all real ones
    hear : called with the attention that each key receives from these, (batch, key heads, keys) in float32, and with
        the values
    """

    queries: Tensor | None
    hear: Callable[[Tensor, Tensor], None]


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
    listener: Listener | None = None,
) -> Tensor:
    """Contexts of the queries.

    Parameters
    ----------
    query : (batch, heads, queries, head_dim)
    key, value : (batch, key heads, keys, head_dim); heads are a multiple of key heads
    real : (batch, keys) True on real tokens, False on fillers, which stand last; None if all are real
    causal : whether query ``i`` sees the keys up to ``i`` only; there are as many queries as keys then
    bias : (batch or 1, heads, queries, keys) added to the products
    listener : told what each key receives; queries must be the keys then

    Returns
    -------
    (batch, queries, heads * head_dim)
    """
    if causal and not dropout and query.dtype in BLOCK and _on_cpu_for_inference(query):
        return _causal_products(query, key, value, scale, listener)
    if causal or key.shape[1] != query.shape[1]:
        if listener is not None:
            listener.hear(received_from(query, key, listener.queries, scale), value.detach())
        return _fused(query, key, value, None if causal else real, scale, dropout, causal, bias)
    if listener is None and not _prefers_products(query):
        return _fused(query, key, value, real, scale, dropout, causal, bias)
    batch, heads, queries, _ = query.shape
    size = heads * queries * key.shape[2]
    step = batch if torch.is_grad_enabled() else max(1, WORKSPACE // size)
    contexts, received = [], []
    for start in range(0, batch, step):
        part = slice(start, start + step)
        own_bias = bias if bias is None or len(bias) == 1 else bias[part]
        probs = _probabilities(query[part], key[part], None if real is None else real[part], scale, own_bias)
        if listener is not None:
            received.append(received_attention(probs.detach(), None if real is None else real[part]))
        if dropout:
            probs = nn.functional.dropout(probs, dropout)
        context = torch.bmm(_heads(probs), _heads(value[part])).view(*probs.shape[:3], value.shape[3])
        contexts.append(context.transpose(1, 2).flatten(2))
    if listener is not None:
        listener.hear(_joined(received), value.detach())
    return _joined(contexts)


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
def received_from(query: Tensor, key: Tensor, asked: Tensor | None, scale: float) -> Tensor:
    """Attention that each token of a causal decoder receives from some of the queries.

    Parameters
    ----------
    query : (batch, heads, n, head_dim)
    key : (batch, key heads, n, head_dim)
    asked : (batch, asked) columns of the queries, below 0 = nobody; None asks all

    Returns
    -------
    (batch, key heads, n) summed over the queries and over the heads that share a key head, float32
    """
    batch, heads, n, size = query.shape
    groups = key.shape[1]
    if asked is None:
        asked = torch.arange(n, device=query.device).expand(batch, n)
    places = torch.arange(n, device=query.device)
    step = max(1, WORKSPACE // max(heads * asked.shape[1] * n, 1))
    received = []
    for start in range(0, batch, step):
        columns = asked[start : start + step]
        index = columns.clamp(min=0)[:, None, :, None].expand(-1, heads, -1, size)
        picked = query[start : start + step].gather(2, index).reshape(len(columns), groups, -1, size)
        logits = (picked @ key[start : start + step].mT).float() * scale
        logits = logits.view(len(columns), groups, heads // groups, -1, n)
        unseen = places > columns[:, None, None, :, None]
        probs = logits.masked_fill_(unseen & (columns >= 0)[:, None, None, :, None], -torch.inf).softmax(dim=-1)
        probs = probs * (columns >= 0)[:, None, None, :, None]
        received.append(probs.sum(dim=(2, 3)))
    return _joined(received)


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


@torch.no_grad()
def _causal_products(query: Tensor, key: Tensor, value: Tensor, scale: float, listener: Listener | None) -> Tensor:
    """Causal attention by matrix products, a fifth (fp32) to a half (bf16) faster on CPUs than their fused kernel.

    A block of queries meets the keys up to its last only, and the heads that share keys run as one product.
    """
    length = query.shape[2]
    if query.dtype == torch.bfloat16 and (spare := even(length) - length):
        # No real query sees these.
        query, key, value = (nn.functional.pad(states, (0, 0, 0, spare)) for states in (query, key, value))
    batch, heads, n, _ = query.shape
    block = BLOCK[query.dtype]
    asked = None if listener is None else asked_columns(listener.queries, batch, n, query.device)
    step = max(1, BLOCK_WORKSPACE // (heads * min(block, n) * n))
    contexts, received = [], []
    for start in range(0, batch, step):
        part = slice(start, start + step)
        own = None if asked is None else asked[part]
        context, heard = _causal_blocks(query[part], key[part], value[part], scale, block, own)
        contexts.append(context)
        received.append(heard)
    if listener is not None:
        listener.hear(_joined(received)[:, :, :length], value[:, :, :length])
    return _joined(contexts)[:, :length]


def _causal_blocks(
    query: Tensor, key: Tensor, value: Tensor, scale: float, block: int, asked: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Contexts (batch, n, width), and what keys receive from the queries in ``asked``, (batch, n) booleans."""
    batch, heads, n, size = query.shape
    groups = key.shape[1]
    context = value.new_empty(batch, n, heads, value.shape[3])
    received = value.new_zeros(batch if asked is not None else 0, groups, n, dtype=torch.float32)
    first_asked, after_asked, alike = _span(asked)
    keys, values, zero = _heads(key).mT, _heads(value), query.new_zeros(())
    unseen = query.new_full((block, block), -torch.inf).triu(1)
    for first in range(0, n, block):
        stop = min(first + block, n)
        count = stop - first
        own = query[:, :, first:stop].reshape(batch * groups, -1, size)
        logits = torch.baddbmm(zero, own, keys[:, :, :stop], beta=0, alpha=scale)
        logits.view(-1, count, stop)[..., first:].add_(unseen[:count, :count])
        probs = logits.softmax(dim=-1)
        found = torch.bmm(probs, values[:, :stop]).view(batch, heads, count, -1)
        context[:, first:stop] = found.transpose(1, 2)
        whom = slice(max(first, first_asked), min(stop, after_asked))
        if asked is not None and whom.start < whom.stop:
            heard = probs.view(batch, groups, -1, count, stop)[:, :, :, whom.start - first : whom.stop - first]
            if not alike:
                heard = heard * asked[:, None, None, whom, None]
            received[:, :, :stop] += heard.sum(dim=(2, 3), dtype=torch.float32)
    return context.flatten(2), received


def _span(asked: Tensor | None) -> tuple[int, int, bool]:
    """The first query that is asked, the one after the last, and whether all in between are asked of all sequences."""
    columns = [] if asked is None else asked.any(dim=0).nonzero().flatten().tolist()
    if asked is None or not columns:
        return 0, 0, True
    first, after = columns[0], columns[-1] + 1
    return first, after, bool(asked[:, first:after].all())


def asked_columns(queries: Tensor | None, batch: int, n: int, device: torch.device) -> Tensor:
    """(batch, n) True on the queries that are asked."""
    if queries is None:
        return torch.ones(batch, n, dtype=torch.bool, device=device)
    asked = torch.zeros(batch, n + 1, dtype=torch.bool, device=device)
    return asked.scatter_(1, torch.where(queries < 0, n, queries), True)[:, :n]


def _on_cpu_for_inference(query: Tensor) -> bool:
    return query.device.type == "cpu" and not torch.is_grad_enabled()


def _prefers_products(query: Tensor) -> bool:
    # In bf16 a CPU's own matrix products beat its fused kernel (benchmarks/engine.py).
    return query.dtype == torch.bfloat16 and _on_cpu_for_inference(query)


def _probabilities(query: Tensor, key: Tensor, real: Tensor | None, scale: float, bias: Tensor | None) -> Tensor:
    # Scaled inside the product: one pass over the queries less.
    products = torch.baddbmm(query.new_zeros(()), _heads(query), _heads(key).mT, beta=0, alpha=scale)
    logits = products.view(*query.shape[:3], key.shape[2])
    if bias is not None:
        logits.add_(bias)
    if real is not None:
        logits = logits.masked_fill_(~real[:, None, None, :], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=-1)


def _heads(states: Tensor) -> Tensor:
    return states.reshape(-1, *states.shape[2:])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
