"""Greedy choice of the layers with top-k attention: from the upper layers down, only where it does not hurt.

Top-k attention makes no pass cheaper (see ``latadj.elimination.topk_setting``); it is chosen for its quality alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from latadj.elimination.topk_setting import TopKAttention, check_topk

T = TypeVar("T")


@dataclass
class TopKTrial:
    """What became of one layer with one number of keys.

    layer : counted from 0
    k : keys that a query attends to, or their share
    metric_before : of the model before this layer was tried
    kept : whether the layer has this ``k`` in the end
    """

    layer: int
    k: int | float
    metric_before: float
    metric_after: float
    kept: bool = False


@dataclass(frozen=True)
class TopKChoice(Generic[T]):
    """The chosen attention, every trial in the order it was made, and the evaluation of the chosen model."""

    topk: TopKAttention
    trials: tuple[TopKTrial, ...]
    evaluation: T


def choose_topk_attention(
    layers: int,
    ks: Sequence[int | float],
    evaluate: Callable[[TopKAttention], T],
    *,
    accepts: Callable[[T, T], bool] | None = None,
    metric: Callable[[T], float] = float,  # type: ignore[assignment]
    among: Sequence[int] | None = None,
    advance: Callable[[], Any] = lambda: None,
) -> TopKChoice[T]:
    """Give layers top-k attention one after the other, from the last to the first, with those above as chosen.

    Of the ``ks`` that pass in a layer the one of the best metric is kept; of equally good ones the last that is given.
    Deterministic if ``evaluate`` and ``accepts`` are; the model is evaluated once, and once for each layer and ``k``.

    Parameters
    ----------
    layers : of the model
    ks : keys, or shares in (0, 1], that are tried in a layer, from many keys to few
    evaluate : evaluation of a model with such attention on validation text: its metric, greater = better, or something
        richer that ``accepts`` and ``metric`` can read
    accepts : called with the evaluations before and after; whether a layer may keep this attention. None: where the
        metric does not fall
    metric : the number in an evaluation
    among : layers that may get top-k attention, counted from 0; None: all
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
    accepts = accepts or (lambda before, after: metric(after) >= metric(before))
    candidates = range(layers) if among is None else among
    if any(not 0 <= layer < layers for layer in candidates):
        raise ValueError(f"layers {sorted(candidates)}: this model has those from 0 to {layers - 1}")
    topk = TopKAttention.full(layers)
    before = evaluate(topk)
    trials: list[TopKTrial] = []
    for layer in sorted(set(candidates), reverse=True):
        chosen: tuple[TopKTrial, T] | None = None
        for k in ks:
            after = evaluate(topk.at(layer, k))
            trial = TopKTrial(layer, k, metric(before), metric(after))
            trials.append(trial)
            best = chosen is None or trial.metric_after >= chosen[0].metric_after
            if best and accepts(before, after):
                chosen = trial, after
            advance()
        if chosen is not None:
            trial, before = chosen
            trial.kept, topk = True, topk.at(layer, trial.k)
    return TopKChoice(topk, tuple(trials), before)
