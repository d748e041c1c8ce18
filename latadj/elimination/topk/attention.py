"""Selective hard attention of one layer: each query's strongest keys alone get probabilities."""

import numpy as np
import torch
from torch import Tensor, nn

from latadj.elimination.attention import WORKSPACE, Listener, asked_columns, attention, received_attention


def attend_topk(
    most: int | float,
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
    """Contexts of the queries over the ``most`` keys of each that have the largest products, bias included.

    Of equally strong keys the first count, whatever stands around them. A listener hears the probabilities after the
    selection, and gradients pass through the chosen keys.

    Parameters
    ----------
    most : keys a query attends to, or a share of those that it may see
    others : as of :func:`latadj.elimination.attention.attention`
    """
    keys = key.shape[2]
    if most >= (keys if isinstance(most, int) else 1.0):
        return attention(
            query, key, value, real, scale=scale, dropout=dropout, causal=causal, bias=bias, listener=listener
        )
    seen = None if real is None else real[:, None]
    if causal:
        seen = torch.ones(1, keys, keys, dtype=torch.bool, device=query.device).tril()
    asked = None if causal else real
    if listener is not None and listener.queries is not None:
        asked = asked_columns(listener.queries, len(query), query.shape[2], query.device)
    listens = listener is not None
    context, received = topk_attention(most, query, key, value, seen, scale, dropout, bias, listens, asked)
    if listener is not None and received is not None:
        listener.hear(received, value.detach())
    return context


def topk_attention(
    most: int | float,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor | None,
    scale: float,
    dropout: float = 0.0,
    bias: Tensor | None = None,
    listens: bool = False,
    asked: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Contexts of the queries, and what each key receives.

    Parameters
    ----------
    seen : (batch or 1, queries or 1, keys) True on the keys that a query may see; None if on all
    listens : whether what each key receives is wanted
    asked : (batch, queries) True on the queries whose attention is summed; None if all are

    Returns
    -------
    (batch, queries, heads * head_dim), and (batch, key heads, keys) in float32 or None
    """
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    counts = _counts(most, seen, keys)
    # Everything at once where gradients keep it anyway, else as much as stays in cache.
    at_once = torch.is_grad_enabled()
    rows = batch if at_once else max(1, WORKSPACE // (heads * queries * keys))
    columns = queries if at_once else min(queries, max(1, WORKSPACE // (heads * keys)))
    contexts, received = [], []
    for row in range(0, batch, rows):
        part = slice(row, row + rows)
        found, heard = [], []
        for column in range(0, queries, columns):
            block = slice(column, column + columns)
            probs = _probabilities(
                query[part, :, block],
                key[part],
                None if seen is None else _block(seen, part, block),
                scale,
                None if bias is None else _block(bias.transpose(1, 2), part, block).transpose(1, 2),
                counts if isinstance(counts, int) else _block(counts, part, block),
            )
            if listens:
                heard.append(received_attention(probs.detach(), None if asked is None else asked[part, block]))
            if dropout:
                probs = nn.functional.dropout(probs, dropout)
            found.append(_contexts(probs, value[part]))
        contexts.append(torch.cat(found, dim=1))
        if listens:
            received.append(torch.stack(heard).sum(dim=0).unflatten(1, (key.shape[1], -1)).sum(dim=2))  # type: ignore[no-untyped-call]
    return torch.cat(contexts), torch.cat(received) if listens else None


def _counts(most: int | float, seen: Tensor | None, keys: int) -> int | Tensor:
    """How many keys each query attends to: the same number for all, or (batch or 1, queries or 1)."""
    if isinstance(most, int):
        # Where a query sees fewer, the hidden ones among its strongest have probability 0.
        return min(most, keys)
    if seen is None:
        return max(int(np.ceil(most * keys - 1e-6)), 1)
    return (most * seen.sum(dim=-1, dtype=torch.float64) - 1e-6).ceil().long().clamp_(min=1)


def _block(table: Tensor, part: slice, block: slice) -> Tensor:
    """A block of (batch or 1, queries or 1, ...)."""
    table = table if len(table) == 1 else table[part]
    return table if table.shape[1] == 1 else table[:, block]


def _probabilities(
    query: Tensor, key: Tensor, seen: Tensor | None, scale: float, bias: Tensor | None, counts: int | Tensor
) -> Tensor:
    batch, _, queries, size = query.shape
    # Heads that share keys run as one product, scaled inside it.
    own = query.reshape(batch * key.shape[1], -1, size)
    products = torch.baddbmm(query.new_zeros(()), own, key.flatten(0, 1).mT, beta=0, alpha=scale)
    logits = products.view(batch, -1, queries, key.shape[2])
    if bias is not None:
        logits.add_(bias)
    if seen is not None:
        logits = logits.masked_fill_(~seen[:, None], torch.finfo(logits.dtype).min)
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
    wanted = torch.as_tensor(counts, device=logits.device).expand(*logits.shape[:-1], 1)
    on_cpu = logits.device.type == "cpu"
    least = least_by_numpy(logits, counts, wanted) if on_cpu else least_by_topk(logits, wanted)
    weaker = logits < least
    if logits.numel() - int(weaker.count_nonzero()) == int(wanted.sum()):
        return weaker
    crowded = (keys - weaker.sum(dim=-1) > wanted.squeeze(-1)).nonzero(as_tuple=True)
    tied = logits[crowded] == least[crowded]
    room = wanted[crowded] - (logits[crowded] > least[crowded]).sum(dim=-1, keepdim=True)
    weaker[crowded] |= tied & (tied.cumsum(dim=-1) > room)
    return weaker


def least_by_topk(logits: Tensor, wanted: Tensor) -> Tensor:
    """The smallest of each query's ``wanted``, (..., 1), largest logits: the same shape."""
    largest = logits.topk(int(wanted.max()), dim=-1).values
    return largest.gather(-1, wanted - 1)


def least_by_numpy(logits: Tensor, counts: int | Tensor, wanted: Tensor) -> Tensor:
    """What :func:`least_by_topk` gives, on a CPU several times faster: NumPy selects and sorts by vector instructions.

    Parameters
    ----------
    counts : ``wanted`` as one number, if it is
    """
    keys = logits.shape[-1]
    values = logits.float().numpy()
    if isinstance(counts, int):
        least = np.partition(values, keys - counts, axis=-1)[..., keys - counts, None]
    else:
        least = np.take_along_axis(np.sort(values, axis=-1), keys - wanted.numpy(), axis=-1)
    return torch.from_numpy(np.ascontiguousarray(least)).to(logits.dtype)
