"""GLUE's metrics and perplexity as `evaluate.Metric`s that need no hub."""

from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from latadj.config import TaskConfig


class _Metric(evaluate.Metric):
    """A metric that is computed here; ``value_type`` is ``int64`` for classes, ``float64`` for a regression."""

    value_type = "int64"
    summary = ""
    greater_is_better = True

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value(self.value_type)
        return evaluate.MetricInfo(
            description=self.summary,
            citation="",
            inputs_description="predictions, references: one number for each example",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return self.scores(np.asarray(predictions), np.asarray(references))

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        """Scores by name, the headline first, as fractions of 1; two (examples,) arrays in."""
        raise TypeError("a metric is one of METRICS")


class Accuracy(_Metric):
    """Share of right classes."""

    summary = "share of right classes"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MatthewsCorrelation(_Metric):
    """Matthews correlation, GLUE's metric for CoLA; 0 where only one class is predicted."""

    summary = "Matthews correlation, GLUE's metric for CoLA; 0 where only one class is predicted"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class F1Accuracy(_Metric):
    """F1 of class 1, and accuracy; GLUE's metrics for MRPC and QQP."""

    summary = "F1 of class 1, and accuracy; GLUE's metrics for MRPC and QQP"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {
            "f1": float(f1_score(references, predictions, zero_division=0.0)),
            "accuracy": float(accuracy_score(references, predictions)),
        }


class PearsonSpearman(_Metric):
    """Pearson and Spearman correlation, GLUE's metrics for STS-B; 0 where all predictions are equal."""

    value_type = "float64"
    summary = "Pearson and Spearman correlation, GLUE's metrics for STS-B; 0 where all predictions are equal"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        if np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return {"pearson": 0.0, "spearman": 0.0}
        return {
            "pearson": float(stats.pearsonr(predictions, references).statistic),
            "spearman": float(stats.spearmanr(predictions, references).statistic),
        }


class Perplexity(_Metric):
    """Perplexity, from negative log-likelihoods (nats) as predictions and numbers of tokens as references."""

    value_type = "float64"
    summary = "exponential of the negative log-likelihood (nats) of a token; predictions: sums, references: tokens"
    greater_is_better = False

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {"perplexity": float(np.exp(predictions.sum() / references.sum()))}


METRICS: dict[str, type[_Metric]] = {
    "accuracy": Accuracy,
    "matthews_correlation": MatthewsCorrelation,
    "f1": F1Accuracy,
    "pearson": PearsonSpearman,
    "perplexity": Perplexity,
}


def metric_of(name: str) -> _Metric:
    """The metric of that headline.

    Raises
    ------
    ValueError
        if there is none of that name.
    """
    if name not in METRICS:
        raise ValueError(f"task.metric={name}: expected one of {', '.join(METRICS)}")
    return METRICS[name]()


def check_metric(task: TaskConfig) -> None:
    """Refuse a metric of classes for numbers, and the other way round.

    Raises
    ------
    ValueError
    """
    if task.kind != "classification":
        return
    wanted = "int64" if task.labels else "float64"
    if metric_of(task.metric).value_type != wanted:
        possible = [name for name, metric in METRICS.items() if metric.value_type == wanted and name != "perplexity"]
        what = f"task {task.name} has classes" if task.labels else f"task {task.name} has no labels, it is a regression"
        raise ValueError(f"task.metric={task.metric}: {what}: expected one of {', '.join(possible)}")


def predictions_of(logits: np.ndarray, regression: bool) -> np.ndarray:
    """(examples, outputs) logits to (examples,) class numbers, or values for a regression."""
    return logits[:, 0].astype(np.float64) if regression else logits.argmax(axis=-1)


def agreement(ours: np.ndarray, full: np.ndarray, regression: bool) -> float:
    """Share of examples with the full model's prediction; of a regression, correlation with it.

    Parameters
    ----------
    ours, full : (examples,) predictions
    """
    if not regression:
        return float(np.mean(ours == full))
    if np.array_equal(ours, full):
        return 1.0
    return 0.0 if np.ptp(ours) == 0 or np.ptp(full) == 0 else float(np.corrcoef(ours, full)[0, 1])
