"""How much each token contributes: ACC and the controls that it is compared with.

To add a score, write one function: ``@score`` makes its name an option. Each is a pure function of the same three
tensors, higher = keep. Uses methods of tensors only, so that the names are known without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# (attention received, values, visible or None) -> (batch, keys)
Score = Callable[["Tensor", "Tensor", "Tensor | None"], "Tensor"]
# Every score by its function's name.
SCORES: dict[str, Score] = {}


def score(function: Score) -> Score:
    """Make a function selectable by its name."""
    SCORES[function.__name__] = function
    return function


@score
def acc(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Attention Context Contribution of each token (after arXiv 2201.03327, value-weighted).

    A key contributes ``P_ij * v_j`` to the context of query ``i``; its ACC is the size of that contribution
    summed over queries and heads.

    Parameters
    ----------
    received : (batch, heads, keys) attention received from real queries, float32
    values : (batch, heads, keys, head_dim)
    visible : (batch, keys) how many real queries see each key, 0 on fillers; None where all are seen alike

    Returns
    -------
    (batch, keys) contributions, 0 on fillers; :func:`shares` makes each row sum to 1
    """
    # At least in float32, whatever the model computes in.
    norms = values.norm(dim=-1, dtype=received.dtype if values.dtype.itemsize < 4 else values.dtype)
    return _per_query((received * norms).sum(dim=1), visible)


@score
def attention(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Attention received, values ignored (the significance score of PoWER-BERT, arXiv 2001.08950).

    Shapes as in :func:`acc`.
    """
    return _per_query(received.sum(dim=1), visible)


@score
def random(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Control: a random order, drawn anew for every layer and call. Shapes as in :func:`acc`."""
    drawn = received.new_empty(len(received), received.shape[-1]).uniform_()
    return _per_query(drawn + 1e-3, _seen(visible))


@score
def position(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Control: earlier positions first. Shapes as in :func:`acc`."""
    return _per_query(1.0 / _places(received, visible), _seen(visible))


@score
def lead_biased_acc(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """ACC divided by the place of the token: of two tokens that contribute alike, the earlier one stays.

    For texts whose beginning says what they are about (the lead bias of news). A place counts the tokens that are
    still there, from 1, and no fillers. Shapes as in :func:`acc`.
    """
    return acc(received, values, visible) / _places(received, visible)


@score
def recent(received: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Control: later positions first, what a window that slides over the text keeps. Shapes as in :func:`acc`."""
    return _per_query(_places(received, visible), _seen(visible))


def shares(scores: Tensor) -> Tensor:
    """Scores as shares of the whole: (batch, keys) to the same, rows that sum to 1."""
    return scores / scores.sum(dim=-1, keepdim=True).clamp(min=1e-20)


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
    entropy = -scores.xlogy(scores).sum(dim=-1)
    return entropy.exp() / lengths


def _places(received: Tensor, visible: Tensor | None) -> Tensor:
    """(batch, keys) 1, 2, 3, ... of real tokens: survivors keep their order, so a place ranks as the position does."""
    real = received.new_ones(len(received), received.shape[-1]) if visible is None else visible
    # Counted in whole numbers: on CUDA sums of others are not deterministic.
    return (real > 0).cumsum(dim=-1).clamp(min=1).to(received.dtype)


def _seen(visible: Tensor | None) -> Tensor | None:
    return None if visible is None else visible.clamp(max=1)


def _per_query(raw: Tensor, visible: Tensor | None) -> Tensor:
    return raw if visible is None else (raw / visible.clamp(min=1)).where(visible > 0, 0.0)
