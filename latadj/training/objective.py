"""Training objectives: how batches are made, their loss, and the metric of the validation split."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean, geometric_mean
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from latadj.tasks.encoding.batches import Batch

Loss = Callable[[Any, Batch], Tensor]


@dataclass(frozen=True)
class TrainingObjective:
    """A task, as a Trainer needs it.

    metric : name of what ``score`` gives
    score : the metric of a model on the validation split, at its current speedup
    collate : rows of the training set -> batch
    loss : (model, batch) -> scalar; the model's own when left out
    greater_is_better : otherwise the metric is a perplexity
    """

    metric: str
    score: Callable[[PreTrainedModel], float]
    collate: Callable[[list[dict[str, Any]]], Batch]
    loss: Loss | None = None
    greater_is_better: bool = True

    def mean_score(self, scores: Iterable[float]) -> float:
        """One score for several speedups."""
        # Perplexities are ratios: the largest must not outweigh all the others.
        return fmean(scores) if self.greater_is_better else geometric_mean(scores)
