"""Whether a model without some of its units is as good as the full one: a paired comparison on the same texts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from latadj.tasks.metrics.intervals import score


@dataclass(frozen=True)
class ScoredPredictions:
    """The predictions of a model on the texts that it is evaluated on, and their losses.

    predictions : of what the task's metric compares
    losses : (rows,) task loss of each encoded row, at the temperature that makes their mean least
    """

    predictions: Any
    losses: np.ndarray

    @property
    def loss(self) -> float:
        """Mean task loss."""
        return float(self.losses.mean())


@dataclass(frozen=True)
class Evaluation:
    """How a model compares with the full model.

    difference : its metric minus the full model's, positive = better, with the interval at the criterion's confidence
    loss_increase : its mean loss minus the full model's, positive = worse
    passes : whether the model is good enough, see :class:`AcceptanceCriterion`
    """

    metric: float
    loss: float
    difference: float
    difference_ci: tuple[float, float]
    loss_increase: float
    passes: bool


class AcceptanceCriterion:
    """Compares models with the full one, never with each other, so that many small losses cannot add up unseen.

    A model passes if both hold:

    1. Its metric is at most ``tolerance`` below the full model's. This is what the user asks for, so the measured
       value decides; no interval can make up for it.
    2. Its mean loss has risen by no more than the share ``max_loss_increase``, plus the share that ``tolerance``
       is of the full model's errors. A metric such as accuracy moves in steps of one text, and a search looks at it a
       hundred times, so some damage slips through by luck. The loss moves with every text and shows such damage.

    Both measured values decide, whatever their intervals: what few texts leave in doubt must not pass because of it.

    Parameters
    ----------
    metric : headline name in ``latadj.tasks.metrics.metric.METRICS``; greater is better
    references : the right answer for each example
    full : predictions of the full model
    tolerance : of the metric, as a fraction of 1
    confidence : of the intervals, such as 0.9, which :meth:`clearly_worse` goes by
    max_loss_increase : share of the full model's loss by which the loss may rise at tolerance 0
    seed : of the bootstrap
    """

    def __init__(
        self,
        metric: str,
        references: Any,
        full: ScoredPredictions,
        *,
        tolerance: float,
        confidence: float,
        max_loss_increase: float,
        seed: int,
    ) -> None:
        self.metric, self.references, self.full = metric, references, full
        self.tolerance, self.confidence, self.seed = tolerance, confidence, seed
        self.full_score = score(metric, full.predictions, full.predictions, references, seed, confidence)
        of_errors = tolerance / max(1.0 - self.full_score.metric, tolerance) if tolerance > 0 else 0.0
        self.allowed = full.loss * (max_loss_increase + of_errors)

    def __call__(self, scored: ScoredPredictions) -> Evaluation:
        """Compare a model that made these predictions with the full one."""
        result = score(
            self.metric, scored.predictions, self.full.predictions, self.references, self.seed, self.confidence
        )
        low, high = result.drop_ci
        loss_increase = float((scored.losses - self.full.losses).mean())
        return Evaluation(
            metric=result.metric,
            loss=scored.loss,
            difference=0.0 - result.drop,
            difference_ci=(0.0 - high, 0.0 - low),
            loss_increase=loss_increase,
            # A drop of exactly the tolerance is allowed, however floats round it.
            passes=result.drop <= self.tolerance + 1e-9 and loss_increase <= self.allowed + 1e-9,
        )

    def clearly_worse(self, evaluation: Evaluation) -> bool:
        """Whether chance does not explain that a model's metric is more than the tolerance below the full model's."""
        return evaluation.difference_ci[1] < -self.tolerance - 1e-9
