"""How much each word-vector contributes: ACC and the controls it is compared with.

Every score is a pure function of the same four tensors, higher = keep, so adding one is one function and
one entry in ``SCORES``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def received_attention(probs: Tensor, real_queries: Tensor | None) -> Tensor:
    """Attention that each word-vector receives from the real queries.

    Parameters
    ----------
    probs : (batch, heads, queries, keys) attention probabilities
    real_queries : (batch, queries) True on real word-vectors; None if all are real

    Returns
    -------
    (batch, heads, keys) column sums of ``probs`` over the real queries
    """
    if real_queries is None:
        return probs.sum(dim=2)
    rows = real_queries[:, None, None, :].to(probs.dtype)
    return torch.matmul(rows, probs).squeeze(2)


def acc(received: Tensor, values: Tensor, visible: Tensor, positions: Tensor) -> Tensor:
    """Attention Context Contribution of each word-vector (after arXiv 2201.03327, value-weighted).

    A key contributes ``P_ij * v_j`` to the context of query ``i``; its ACC is the size of that contribution
    summed over the queries, averaged over heads.

    Parameters
    ----------
    received : (batch, heads, keys) attention received from real queries
    values : (batch, heads, keys, head_dim)
    visible : (batch, keys) how many real queries see each key; 0 on padding
    positions : (batch, keys) position of each key in the sequence as it entered the model

    Returns
    -------
    (batch, keys) contributions; each row sums to 1, padding gets 0
    """
    norms = torch.linalg.vector_norm(values, dim=-1, dtype=torch.float32)
    return _share((received.float() * norms).mean(dim=1), visible)


def attention(received: Tensor, values: Tensor, visible: Tensor, positions: Tensor) -> Tensor:
    """Attention received, values ignored (the significance score of PoWER-BERT, arXiv 2001.08950).

    Shapes as in :func:`acc`.
    """
    return _share(received.float().mean(dim=1), visible)


def random(received: Tensor, values: Tensor, visible: Tensor, positions: Tensor) -> Tensor:
    """Control: a random order, drawn anew for every layer and call. Shapes as in :func:`acc`."""
    return _share(torch.rand(visible.shape, device=visible.device) + 1e-3, visible.clamp(max=1))


def position(received: Tensor, values: Tensor, visible: Tensor, positions: Tensor) -> Tensor:
    """Control: earlier positions first. Shapes as in :func:`acc`."""
    return _share(1.0 / (1.0 + positions.float()), visible.clamp(max=1))


SCORES: dict[str, Score] = {"acc": acc, "attention": attention, "random": random, "position": position}


def effective_fraction(scores: Tensor, lengths: Tensor) -> Tensor:
    """Layer ACC: the fraction of word-vectors that still contribute, ``exp(entropy) / n``.

    Parameters
    ----------
    scores : (batch, keys) rows that sum to 1, 0 on padding
    lengths : (batch,) real word-vectors in each row

    Returns
    -------
    (batch,) between 1/n (one word-vector contributes everything) and 1 (all contribute alike)
    """
    entropy = -torch.xlogy(scores, scores).sum(dim=-1)
    return entropy.exp() / lengths


def _share(raw: Tensor, visible: Tensor) -> Tensor:
    per_query = torch.where(visible > 0, raw / visible.clamp(min=1), 0.0)
    return per_query / per_query.sum(dim=-1, keepdim=True).clamp(min=1e-20)
