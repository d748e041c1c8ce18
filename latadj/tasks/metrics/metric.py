"""GLUE's metrics and perplexity as `evaluate.Metric`s that need no hub.

A bootstrap interval computes each score thousands of times, and scikit-learn spends most of such a call on checking its
arguments, so they are a few lines of numpy. The tests compare them with scikit-learn and scipy.
"""

from typing import Any

import numpy as np
from scipy.stats import rankdata

from latadj.config import EMBEDDING, GENERATION, TaskConfig
from latadj.tasks.metrics.base import Metric
from latadj.tasks.metrics.cosines import cosines
from latadj.tasks.metrics.ranking import ranked
from latadj.tasks.metrics.text_metrics import EntityF1, SquadF1, SquadV2F1, StrictEntityF1, TagAccuracy
from latadj.utils.suggestions import did_you_mean


class Accuracy(Metric):
    """Share of right classes."""

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        return {"accuracy": _accuracy(*counts.T)}


class MatthewsCorrelation(Metric):
    """Matthews correlation, GLUE's metric for CoLA; 0 where only one class is predicted."""

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        # Of any number of classes: the correlation of two indicator matrices (Gorodkin 2004).
        predictions, references = counts.T
        classes = int(counts.max()) + 1
        predicted = np.bincount(predictions, minlength=classes).astype(np.float64)
        true = np.bincount(references, minlength=classes).astype(np.float64)
        count = float(len(references))
        spread = np.sqrt(count**2 - predicted @ predicted) * np.sqrt(count**2 - true @ true)
        covariance = count * float((predictions == references).sum()) - float(predicted @ true)
        return {"matthews_correlation": float(covariance / spread) if spread else 0.0}


class F1Accuracy(Metric):
    """F1 of class 1, and accuracy; GLUE's metrics for MRPC and QQP; F1 is 0 where class 1 is nowhere."""

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        predictions, references = counts.T
        predicted, true = predictions == 1, references == 1
        either = float(predicted.sum() + true.sum())
        f1 = 2 * float((predicted & true).sum()) / either if either else 0.0
        return {"f1": f1, "accuracy": _accuracy(predictions, references)}


class PearsonSpearman(Metric):
    """Pearson and Spearman correlation, GLUE's metrics for STS-B; 0 if all predictions are equal or one is NaN."""

    value_type = "float64"

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        predictions, references = counts.T
        if np.ptp(predictions) == 0 or np.ptp(references) == 0 or not np.isfinite(predictions).all():
            return {"pearson": 0.0, "spearman": 0.0}
        return {
            "pearson": _correlation(predictions, references),
            "spearman": _correlation(rankdata(predictions), rankdata(references)),
        }


class Spearman(PearsonSpearman):
    """The same of the cosines of pairs of embeddings, Spearman's first, as STS benchmarks have it."""

    task_type = EMBEDDING

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        scores = super().aggregate(counts)
        return {"spearman": scores["spearman"], "pearson": scores["pearson"]}


class NDCG(Metric):
    """NDCG of the first ten documents that a query finds, MRR of the first ten and recall of the first hundred.

    Gains are grades, discounted by the logarithm of the rank.
    """

    task_type = "retrieval"
    lists = True
    inputs = "predictions: places of documents, nearest first; references: place and grade of each right one, in turn"

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        return np.array([ranked(*pair) for pair in zip(predictions, references, strict=True)]).reshape(-1, 4)

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        ndcg, reciprocal, recall = counts[:, :3].sum(axis=0) / max(counts[:, 3].sum(), 1)
        return {"ndcg": float(ndcg), "mrr": float(reciprocal), "recall": float(recall)}


class Fidelity(Metric):
    """Mean cosine of embeddings with the full model's."""

    task_type = EMBEDDING
    value_type, lists = "float64", True
    inputs = "predictions, references: an embedding for each text"

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        return cosines(np.asarray(predictions), np.asarray(references))[:, None]

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        return {"fidelity": float(counts.mean())}


class Perplexity(Metric):
    """Exponential of the mean negative log-likelihood of a token."""

    task_type = GENERATION
    value_type = "float64"
    inputs = "predictions: sums of negative log-likelihoods in nats; references: numbers of tokens"
    greater_is_better = False

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        nll, tokens = counts.sum(axis=0)
        return {"perplexity": float(np.exp(nll / tokens))}


def _accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    return float(np.mean(predictions == references))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two (examples,) arrays, neither of which is constant."""
    x, y = x - x.mean(), y - y.mean()
    # Each is brought to length 1 first, so that nothing overflows or vanishes in a product of both.
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1.0, 1.0))


METRICS: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "matthews_correlation": MatthewsCorrelation,
    "f1": F1Accuracy,
    "pearson": PearsonSpearman,
    "spearman": Spearman,
    "fidelity": Fidelity,
    "ndcg": NDCG,
    "perplexity": Perplexity,
    "entity_f1": EntityF1,
    "entity_f1_strict": StrictEntityF1,
    "tag_accuracy": TagAccuracy,
    "squad_f1": SquadF1,
    "squad_v2_f1": SquadV2F1,
}


def metric_of(name: str) -> Metric:
    """The metric of that headline.

    Raises
    ------
    ValueError
        if there is none of that name.
    """
    if name not in METRICS:
        raise ValueError(f"task.metric={name}: expected one of {', '.join(METRICS)}{did_you_mean(name, METRICS)}")
    return METRICS[name]()


def check_metric(task: TaskConfig) -> None:
    """Refuse a metric of classes for a regression, and the other way round.

    Raises
    ------
    ValueError
    """
    value_type = "int64" if task.labels else "float64"
    if task.metric == "f1" and len(task.labels or ()) > 2:
        raise ValueError(
            f"task.metric=f1: it is that of the second of two labels, and task {task.name} has "
            f"{len(task.labels or ())}: take accuracy or matthews_correlation"
        )
    if metric_of(task.metric).value_type != value_type:
        possible = [
            name
            for name, metric in METRICS.items()
            if (metric.task_type, metric.value_type) == ("classification", value_type)
        ]
        what = f"task {task.name} has classes" if task.labels else f"task {task.name} has no labels, it is a regression"
        raise ValueError(f"task.metric={task.metric}: {what}: expected one of {', '.join(possible)}")
