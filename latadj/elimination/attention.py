"""The attention of one layer: the fastest kernel, and what its tokens receive where somebody needs to know."""

import torch
from torch import Tensor, nn

from latadj.elimination.causal_attention import BLOCK, causal_products, joined, rows_of_heads
from latadj.elimination.sliding_window import SlidingWindow

# Added to the products of tokens that are too far apart to see each other. A large number and not infinity, so that
# fillers, who may see nobody, have an attention too.
FAR = torch.finfo(torch.bfloat16).min
# Probabilities of as many sequences as fit are made at a time: they stay in cache, and memory stays bounded.
WORKSPACE = 4 * 2**20
# Over fewer numbers than this, PyTorch's softmax in fp32 goes one by one, and takes eight times as long.
VECTOR = 16


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
    sliding: SlidingWindow | None = None,
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
    sliding : how far back causal queries see; None: to the first key

    Returns
    -------
    (batch, queries, heads * head_dim), and (batch, key heads, keys) in float32, or None unless ``observe``
    """
    if causal and not dropout and query.dtype in BLOCK and _on_cpu_for_inference(query):
        return causal_products(query, key, value, scale, observe, window, sliding)
    if causal or key.shape[1] != query.shape[1]:
        received = received_from(query, key, window, scale, sliding) if observe else None
        return _fused(query, key, value, None if causal else real, scale, dropout, causal, bias, sliding), received
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
def received_from(
    query: Tensor, key: Tensor, window: Tensor | None, scale: float, sliding: SlidingWindow | None = None
) -> Tensor:
    """Attention that each token of a causal decoder receives from some of the queries.

    Parameters
    ----------
    query : (batch, heads, n, head_dim)
    key : (batch, key heads, n, head_dim)
    window : (batch, observed) columns of the queries, below 0 = nobody; None: all
    sliding : how far back a query sees; None: to the first key

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
        if sliding is not None:
            unseen = unseen | sliding.part(start, step).too_far(columns.clamp(min=0))[:, None, None]
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
    sliding: SlidingWindow | None = None,
) -> Tensor:
    mask = None if real is None else real[:, None, None, :].expand(-1, 1, query.shape[2], -1)
    if causal and sliding is not None:
        causal, mask = False, sliding.visible()[:, None]
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
    step = max(1, WORKSPACE // (heads * queries * key.shape[2]))
    # Everything at once where gradients keep it anyway.
    if batch <= step or torch.is_grad_enabled():
        return _product(query, key, value, real, scale, dropout, bias, observe)
    contexts, received = [], []
    for start in range(0, batch, step):
        part = slice(start, start + step)
        own_real = None if real is None else real[part]
        own_bias = bias if bias is None or len(bias) == 1 else bias[part]
        context, from_part = _product(query[part], key[part], value[part], own_real, scale, dropout, own_bias, observe)
        contexts.append(context)
        if from_part is not None:
            received.append(from_part)
    return torch.cat(contexts), torch.cat(received) if observe else None


def _product(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    real: Tensor | None,
    scale: float,
    dropout: float,
    bias: Tensor | None,
    observe: bool,
) -> tuple[Tensor, Tensor | None]:
    batch, heads, queries, _ = query.shape
    # Scaled inside the product: one pass over the queries less.
    logits = torch.baddbmm(query.new_empty(()), rows_of_heads(query), rows_of_heads(key).mT, beta=0, alpha=scale)
    by_head = logits.view(batch, heads, queries, key.shape[2])
    if bias is not None:
        by_head.add_(bias)
    if real is not None:
        by_head.masked_fill_(~real[:, None, None, :], torch.finfo(logits.dtype).min)
    probs = _softmax(logits)
    received = received_attention(probs.detach().view_as(by_head), real) if observe else None
    if dropout:
        probs = nn.functional.dropout(probs, dropout)
    context = torch.bmm(probs, rows_of_heads(value)).view(batch, heads, queries, value.shape[3])
    return context.transpose(1, 2).flatten(2), received


def _softmax(logits: Tensor) -> Tensor:
    """Softmax of (rows, queries, keys) over the keys."""
    spare = VECTOR - logits.shape[2]
    if spare <= 0 or logits.dtype != torch.float32 or not _on_cpu_for_inference(logits):
        return logits.softmax(dim=-1)
    return nn.functional.pad(logits, (0, spare), value=-torch.inf).softmax(dim=-1)[..., :-spare]


def _on_cpu_for_inference(query: Tensor) -> bool:
    return query.device.type == "cpu" and not torch.is_grad_enabled()


def _prefers_products(query: Tensor) -> bool:
    # In bf16 a CPU's own matrix products beat its fused kernel (benchmarks/engine.py).
    return query.dtype == torch.bfloat16 and _on_cpu_for_inference(query)
