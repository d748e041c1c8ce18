"""How much each token contributes: ACC and the controls it is compared with.

Every score is a pure function of the same three tensors, higher = keep, so adding one is one function and
one entry in ``SCORES``.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# (attention received, values, visible or None) -> (batch, keys)
Score = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def acc(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Attention Context Contribution of each token (after arXiv 2201.03327, value-weighted).

    A key contributes ``P_ij * v_j`` to the context of query ``i``; its ACC is the size of that contribution
    summed over queries and heads.

    Parameters
    ----------
    received : (batch, heads, keys) attention received from real queries
    values : (batch, heads, keys, head_dim)
    visible : (batch, keys) how many real queries see each key, 0 on fillers; None where all are seen alike

    Returns
    -------
    (batch, keys) contributions, 0 on fillers; :func:`shares` makes each row sum to 1
    """
    norms = torch.linalg.vector_norm(values, dim=-1, dtype=torch.float32)
    return _per_query((received * norms).sum(dim=1), visible)


def attention(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Attention received, values ignored (the significance score of PoWER-BERT, arXiv 2001.08950).

    Shapes as in :func:`acc`.
    """
    return _per_query(received.sum(dim=1), visible)


def random(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Control: a random order, drawn anew for every layer and call. Shapes as in :func:`acc`."""
    return _per_query(torch.rand_like(received[:, 0]) + 1e-3, _seen(visible))


def position(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Control: earlier positions first. Shapes as in :func:`acc`."""
    # Survivors keep their order, so the place among them ranks as the original position does.
    places = torch.arange(received.shape[-1], device=received.device)
    return _per_query((1.0 / (1.0 + places)).repeat(len(received), 1), _seen(visible))


def recent(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Control: later positions first, what a window that slides over the text keeps. Shapes as in :func:`acc`."""
    places = torch.arange(received.shape[-1], device=received.device)
    return _per_query((1.0 + places).repeat(len(received), 1), _seen(visible))


SCORES: dict[str, Score] = {
    "acc": acc,
    "attention": attention,
    "random": random,
    "position": position,
    "recent": recent,
}


def shares(scores: Tensor) -> Tensor:
    """Scores as shares of the whole: (batch, keys) to the same, rows that sum to 1."""
    return scores / scores.sum(dim=-1, keepdim=True).clamp(min=1e-20)


def smoothed(scores: Tensor, real: Tensor | None, width: int) -> Tensor:
    """Each score's mean with its neighbours': (batch, keys) to the same.

    Parameters
    ----------
    real : (batch, keys) True on real tokens, which alone are averaged; None if all are
    width : neighbours, the token itself among them; odd
    """
    present = torch.ones_like(scores) if real is None else real.to(scores.dtype)

    def pooled(values: Tensor) -> Tensor:
        return functional.avg_pool1d(values[:, None], width, stride=1, padding=width // 2)[:, 0]

    return pooled(scores * present) / pooled(present).clamp(min=1e-20)


def effective_fraction(scores: Tensor, lengths: Tensor) -> Tensor:
    """Layer ACC: the fraction of tokens that still contribute, ``exp(entropy) / n``.

    Parameters
    ----------
    scores : (batch, keys) rows that sum to 1, 0 on padding
    lengths : (batch,) real tokens in each row

    Returns
    -------
    (batch,) between 1/n (one token contributes everything) and 1 (all contribute alike)
    """
    entropy = -torch.xlogy(scores, scores).sum(dim=-1)
    return entropy.exp() / lengths


def _seen(visible: Tensor | None) -> Tensor | None:
    return None if visible is None else visible.clamp(max=1)


def _per_query(raw: Tensor, visible: Tensor | None) -> Tensor:
    return raw if visible is None else torch.where(visible > 0, raw / visible.clamp(min=1), 0.0)
