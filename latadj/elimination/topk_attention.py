"""Top-k attention of one layer: only the k keys of each query with the largest products get probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latadj.elimination.architectures import Architecture
from latadj.elimination.attention import FAR, WORKSPACE, attention, received_attention
from latadj.elimination.causal_attention import in_window
from latadj.elimination.decoding import Decoding
from latadj.elimination.sliding_window import SlidingWindow
from latadj.elimination.survivors import Survivors


def topk_attention(
    k: int | float,
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
    """Contexts of the queries over each one's ``k`` keys of largest product, bias included, and what keys receive.

    Of equal keys the first count, whatever stands around them. What a key receives are probabilities after the
    selection, and gradients pass through the selected keys.

    Parameters
    ----------
    k : keys that a query attends to, or a share of those that it may see
    others, and returns : as of :func:`latadj.elimination.attention.attention`
    """
    keys = key.shape[2]
    if k >= (keys if isinstance(k, int) else 1.0):
        options = {"dropout": dropout, "causal": causal, "bias": bias, "observe": observe, "window": window}
        return attention(query, key, value, real, scale=scale, sliding=sliding, **options)  # type: ignore[arg-type]
    visible = None if real is None else real[:, None]
    if causal:
        visible = torch.ones(1, keys, keys, dtype=torch.bool, device=query.device).tril()
        visible = visible if sliding is None else sliding.visible()
    if bias is not None and bias.shape[1] == 1:  # of all heads alike: it hides what is far away
        near = bias[:, 0] > FAR / 2
        visible = near if visible is None else visible & near
    observed = None if causal else real
    if observe and window is not None:
        observed = in_window(window, len(query), query.shape[2], query.device)
    return masked_topk_attention(k, query, key, value, visible, scale, dropout, bias, observe, observed)


def masked_topk_attention(
    k: int | float,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor | None,
    scale: float,
    dropout: float = 0.0,
    bias: Tensor | None = None,
    observe: bool = False,
    observed: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """:func:`topk_attention` by what each query may see.

    Parameters
    ----------
    visible : (batch or 1, queries or 1, keys) True on the keys that a query may see; None if all
    observe : whether somebody needs to know what each key receives
    observed : (batch, queries) True on the queries from which it is received; None: all

    Returns
    -------
    (batch, queries, heads * head_dim), and (batch, key heads, keys) in float32 or None
    """
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    counts = _counts(k, visible, keys)
    # Everything at once where gradients keep it anyway, else as much as stays in cache.
    at_once = torch.is_grad_enabled()
    rows = batch if at_once else max(1, WORKSPACE // (heads * queries * keys))
    columns = queries if at_once else min(queries, max(1, WORKSPACE // (heads * keys)))
    contexts, received = [], []
    for row in range(0, batch, rows):
        part = slice(row, row + rows)
        part_contexts, part_received = [], []
        for column in range(0, queries, columns):
            block = slice(column, column + columns)
            probs = _probabilities(
                query[part, :, block],
                key[part],
                None if visible is None else _block(visible, part, block),
                scale,
                None if bias is None else _block(bias.transpose(1, 2), part, block).transpose(1, 2),
                counts if isinstance(counts, int) else _block(counts, part, block),
            )
            if observe:
                own = None if observed is None else observed[part, block]
                part_received.append(received_attention(probs.detach(), own))
            if dropout:
                probs = nn.functional.dropout(probs, dropout)
            part_contexts.append(_contexts(probs, value[part]))
        contexts.append(torch.cat(part_contexts, dim=1))
        if observe:
            received.append(torch.stack(part_received).sum(dim=0).unflatten(1, (key.shape[1], -1)).sum(dim=2))  # type: ignore[no-untyped-call]
    return torch.cat(contexts), torch.cat(received) if observe else None


def _counts(k: int | float, visible: Tensor | None, keys: int) -> int | Tensor:
    """How many keys each query attends to: the same number for all, or (batch or 1, queries or 1)."""
    if isinstance(k, int):
        # Where a query sees fewer, the hidden ones among its k have probability 0.
        return min(k, keys)
    if visible is None:
        return max(int(np.ceil(k * keys - 1e-6)), 1)
    return (k * visible.sum(dim=-1, dtype=torch.float64) - 1e-6).ceil().long().clamp_(min=1)


def _block(table: Tensor, part: slice, block: slice) -> Tensor:
    """A block of (batch or 1, queries or 1, ...)."""
    table = table if len(table) == 1 else table[part]
    return table if table.shape[1] == 1 else table[:, block]


def _probabilities(
    query: Tensor, key: Tensor, visible: Tensor | None, scale: float, bias: Tensor | None, counts: int | Tensor
) -> Tensor:
    batch, _, queries, size = query.shape
    # Heads that share keys run as one product, scaled inside it.
    own = query.reshape(batch * key.shape[1], -1, size)
    products = torch.baddbmm(query.new_zeros(()), own, key.flatten(0, 1).mT, beta=0, alpha=scale)
    logits = products.view(batch, -1, queries, key.shape[2])
    if bias is not None:
        logits.add_(bias)
    if visible is not None:
        logits = logits.masked_fill_(~visible[:, None], torch.finfo(logits.dtype).min)
    weaker = weaker_keys(logits.detach(), counts if isinstance(counts, int) else counts[:, None, :, None])
    return logits.masked_fill_(weaker, -torch.inf).softmax(dim=-1)


def _contexts(probs: Tensor, value: Tensor) -> Tensor:
    """(batch, queries, heads * head_dim)"""
    own = probs.reshape(len(probs) * value.shape[1], -1, probs.shape[3])
    context = torch.bmm(own, value.flatten(0, 1)).view(*probs.shape[:3], value.shape[3])
    return context.transpose(1, 2).flatten(2)


@torch.no_grad()
def weaker_keys(logits: Tensor, counts: int | Tensor) -> Tensor:
    """True on all but the ``counts`` largest logits of each query; of equal ones the first are among the largest.

    Parameters
    ----------
    logits : (..., keys)
    counts : one number, or (..., 1) to broadcast
    """
    keys = logits.shape[-1]
    per_query = torch.as_tensor(counts, device=logits.device).expand(*logits.shape[:-1], 1)
    on_cpu = logits.device.type == "cpu"
    least = least_by_numpy(logits, counts, per_query) if on_cpu else least_by_topk(logits, per_query)
    weaker = logits < least
    if logits.numel() - int(weaker.count_nonzero()) == int(per_query.sum()):
        return weaker
    crowded = (keys - weaker.sum(dim=-1) > per_query.squeeze(-1)).nonzero(as_tuple=True)
    tied = logits[crowded] == least[crowded]
    room = per_query[crowded] - (logits[crowded] > least[crowded]).sum(dim=-1, keepdim=True)
    weaker[crowded] |= tied & (tied.cumsum(dim=-1) > room)
    return weaker


def least_by_topk(logits: Tensor, per_query: Tensor) -> Tensor:
    """The smallest of each query's ``per_query``, (..., 1), largest logits: the same shape."""
    largest = logits.topk(int(per_query.max()), dim=-1).values
    return largest.gather(-1, per_query - 1)


def least_by_numpy(logits: Tensor, counts: int | Tensor, per_query: Tensor) -> Tensor:
    """What :func:`least_by_topk` gives, on a CPU several times faster: NumPy selects and sorts by vector instructions.

    Parameters
    ----------
    counts : ``per_query`` as one number, if it is
    """
    keys = logits.shape[-1]
    values = logits.float().numpy()
    if isinstance(counts, int):
        least = np.partition(values, keys - counts, axis=-1)[..., keys - counts, None]
    else:
        least = np.take_along_axis(np.sort(values, axis=-1), keys - per_query.numpy(), axis=-1)
    return torch.from_numpy(np.ascontiguousarray(least)).to(logits.dtype)


def decoding_step(
    layer: Any, index: int, step: Decoding, architecture: Architecture, arguments: Mapping[str, Any], hidden: Tensor
) -> Tensor:
    """(batch, steps, width) to the same: each new token attends to its k largest keys among those held and new.

    transformers' own forward, which runs the other layers here, would attend to all of them.
    """
    batch, steps, _ = hidden.shape
    new = Survivors(np.full(batch, steps), None, steps, hidden.device)
    rows = hidden.flatten(0, 1)
    parts = architecture.parts(layer)
    query, key, value = architecture.states(layer, parts.qkv(rows, None), new, arguments)
    k, visible = step.topk.layers[index], step.visible(index, architecture.reach(layer))
    assert k is not None
    # Beside int8 products states may be in bf16; what is held is in the model's own type.
    query, key, value = (states.to(rows.dtype) for states in (query, key, value))
    key, value = arguments["past_key_values"].update(key, value, index)
    scale, dropout = architecture.attention(layer)
    context, _ = masked_topk_attention(k, query, key, value, visible, scale, dropout)
    return parts.feed_forward(parts.project(new.rows(context), rows)).view_as(hidden)
