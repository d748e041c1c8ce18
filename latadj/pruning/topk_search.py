"""Greedy choice of the layers in which attention may be hard: from the upper layers down, only where it does not hurt.

Top-k attention makes no pass cheaper (see ``latadj.elimination.topk.setting``); it is chosen for its quality alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from latadj.elimination.topk.setting import TopKAttention, check_topk

T = TypeVar("T")


@dataclass
class TopKTrial:
    """What became of one layer with one number of keys.

    layer : counted from 0
    k : keys that a query attends to, or their share
    metric_before : of the model before this layer was tried
    kept : whether the layer is hard with this ``k`` in the end
    """

    layer: int
    k: int | float
    metric_before: float
    metric_after: float
    kept: bool = False


@dataclass(frozen=True)
class TopKChoice(Generic[T]):
    """What was chosen, every trial in the order it was made, and what the evaluation said of the chosen model."""

    hard: TopKAttention
    trials: tuple[TopKTrial, ...]
    found: T


def choose_topk_attention(
    layers: int,
    ks: Sequence[int | float],
    evaluate: Callable[[TopKAttention], T],
    *,
    judge: Callable[[T, T], bool] | None = None,
    metric: Callable[[T], float] = float,  # type: ignore[assignment]
    among: Sequence[int] | None = None,
    advance: Callable[[], Any] = lambda: None,
) -> TopKChoice[T]:
    """Make layers hard one after the other, from the last to the first, each with what those above it became.

    Of the ``ks`` that pass in a layer the one of the best metric is kept; of equally good ones the last that is given.
    Deterministic if ``evaluate`` and ``judge`` are; the model is evaluated once, and once for each layer and ``k``.

    Parameters
    ----------
    layers : of the model
    ks : keys, or shares in (0, 1], that are tried in a layer, from many keys to few
    evaluate : what a model with such attention is worth on validation text: its metric, greater = better, or
        something richer that ``judge`` and ``metric`` can read
    judge : called with what ``evaluate`` found before and after; whether a layer may stay hard. None: where
        the metric does not fall
    metric : the number in what ``evaluate`` found
    among : layers that may become hard, counted from 0; None: all
    advance : called after each trial

    Raises
    ------
    ValueError
        if there is no ``k``, one is no number of keys, or there is no such layer.
    """
    if not ks:
        raise ValueError("topk_attention.k: expected at least one number of keys, or a share such as 0.25")
    for k in ks:
        check_topk(k, "topk_attention")
    may_stay = judge or (lambda before, after: metric(after) >= metric(before))
    which = range(layers) if among is None else among
    if any(not 0 <= layer < layers for layer in which):
        raise ValueError(f"layers {sorted(which)}: this model has those from 0 to {layers - 1}")
    hard = TopKAttention.full(layers)
    before = evaluate(hard)
    trials: list[TopKTrial] = []
    for layer in sorted(set(which), reverse=True):
        chosen: tuple[TopKTrial, T] | None = None
        for k in ks:
            after = evaluate(hard.at(layer, k))
            trial = TopKTrial(layer, k, metric(before), metric(after))
            trials.append(trial)
            best = chosen is None or trial.metric_after >= chosen[0].metric_after
            if best and may_stay(before, after):
                chosen = trial, after
            advance()
        if chosen is not None:
            trial, before = chosen
            trial.kept, hard = True, hard.at(layer, trial.k)
    return TopKChoice(hard, tuple(trials), before)
