"""The attention of one layer: the fastest kernel, and what its tokens receive where somebody needs to know."""

import torch
from torch import Tensor, nn

# Added to the products of tokens that are too far apart to see each other. A large number and not infinity, so that
# fillers, who may see nobody, have an attention too.
FAR = torch.finfo(torch.bfloat16).min
# Probabilities of as many sequences as fit are made at a time: they stay in cache, and memory stays bounded.
WORKSPACE = 4 * 2**20
# A causal pass goes through the queries in blocks of so many, for a workspace of so many probabilities.
BLOCK = {torch.float32: 32, torch.bfloat16: 64}
BLOCK_WORKSPACE = 2**18
# Over fewer numbers than this, PyTorch's softmax in fp32 goes one by one, and takes eight times as long.
VECTOR = 16
# Up to this many rows, each number has its own kernel.
MANY_ROWS = 64


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


def kernel_rows(count: int) -> int:
    """Round a number of rows up, since oneDNN compiles a kernel for each, which takes as long as a product.

    Elimination leaves another number in each layer and of each text. At most a sixteenth is added.
    """
    step = max(16, 1 << count.bit_length() >> 5)
    return count if count <= MANY_ROWS else -(-count // step) * step


@torch.no_grad()
def causal_products(
    query: Tensor, key: Tensor, value: Tensor, scale: float, observe: bool, window: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Causal attention by matrix products, a fifth (fp32) to a half (bf16) faster on CPUs than their fused kernel.

    A block of queries meets the keys up to its last only, and the heads that share keys run as one product. Parameters
    and returns as of :func:`latadj.elimination.attention.attention`.
    """
    length = query.shape[2]
    if query.dtype == torch.bfloat16 and (spare := kernel_rows(length) - length):
        # No real query sees these.
        query, key, value = (nn.functional.pad(states, (0, 0, 0, spare)) for states in (query, key, value))
    batch, heads, n, _ = query.shape
    block = BLOCK[query.dtype]
    observed = in_window(window, batch, n, query.device) if observe else None
    step = max(1, BLOCK_WORKSPACE // (heads * min(block, n) * n))
    contexts, received = [], []
    for start in range(0, batch, step):
        part = slice(start, start + step)
        own = None if observed is None else observed[part]
        context, from_window = _causal_blocks(query[part], key[part], value[part], scale, block, own)
        contexts.append(context)
        received.append(from_window)
    return joined(contexts)[:, :length], joined(received)[:, :, :length] if observe else None


def _causal_blocks(
    query: Tensor, key: Tensor, value: Tensor, scale: float, block: int, observed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Contexts (batch, n, width), and what keys receive from the queries that are ``observed``, (batch, n) booleans."""
    batch, heads, n, size = query.shape
    groups = key.shape[1]
    context = value.new_empty(batch, n, heads, value.shape[3])
    received = value.new_zeros(batch if observed is not None else 0, groups, n, dtype=torch.float32)
    first_observed, after_observed, alike = _span(observed)
    keys, values, zero = rows_of_heads(key).mT, rows_of_heads(value), query.new_zeros(())
    unseen = query.new_full((block, block), -torch.inf).triu(1)
    for first in range(0, n, block):
        stop = min(first + block, n)
        count = stop - first
        own = query[:, :, first:stop].reshape(batch * groups, -1, size)
        logits = torch.baddbmm(zero, own, keys[:, :, :stop], beta=0, alpha=scale)
        logits.view(-1, count, stop)[..., first:].add_(unseen[:count, :count])
        probs = logits.softmax(dim=-1)
        context[:, first:stop] = torch.bmm(probs, values[:, :stop]).view(batch, heads, count, -1).transpose(1, 2)
        inside = slice(max(first, first_observed), min(stop, after_observed))
        if observed is not None and inside.start < inside.stop:
            probs_in_window = probs.view(batch, groups, -1, count, stop)[
                :, :, :, inside.start - first : inside.stop - first
            ]
            if not alike:
                probs_in_window = probs_in_window * observed[:, None, None, inside, None]
            received[:, :, :stop] += probs_in_window.sum(dim=(2, 3), dtype=torch.float32)
    return context.flatten(2), received


def _span(observed: Tensor | None) -> tuple[int, int, bool]:
    """The first query observed, the one after the last, and whether all in between are so in all sequences."""
    columns = [] if observed is None else observed.any(dim=0).nonzero().flatten().tolist()
    if observed is None or not columns:
        return 0, 0, True
    first, after = columns[0], columns[-1] + 1
    return first, after, bool(observed[:, first:after].all())


def in_window(window: Tensor | None, batch: int, n: int, device: torch.device) -> Tensor:
    """(batch, n) True on the queries of an observation window, as columns; None: on all."""
    if window is None:
        return torch.ones(batch, n, dtype=torch.bool, device=device)
    observed = torch.zeros(batch, n + 1, dtype=torch.bool, device=device)
    return observed.scatter_(1, torch.where(window < 0, n, window), True)[:, :n]


def rows_of_heads(states: Tensor) -> Tensor:
    """(batch, heads, n, features) to (batch * heads, n, features)."""
    return states.reshape(-1, *states.shape[2:])


def joined(parts: list[Tensor]) -> Tensor:
    """Parts of a batch as one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
