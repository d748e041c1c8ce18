"""GLUE's metrics and perplexity as `evaluate.Metric`s that need no hub.

Each score is a few lines of numpy, since a bootstrap interval asks for thousands of them and scikit-learn spends most
of each call on looking at its arguments. The tests hold them to scikit-learn and scipy.
"""

from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import rankdata


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
        return {"accuracy": _accuracy(predictions, references)}


class MatthewsCorrelation(_Metric):
    """Matthews correlation, GLUE's metric for CoLA; 0 where only one class is predicted."""

    summary = "Matthews correlation, GLUE's metric for CoLA; 0 where only one class is predicted"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        # Of any number of classes: the correlation of two indicator matrices (Gorodkin 2004).
        classes = int(max(predictions.max(), references.max())) + 1
        predicted = np.bincount(predictions, minlength=classes).astype(np.float64)
        true = np.bincount(references, minlength=classes).astype(np.float64)
        count = float(len(references))
        spread = np.sqrt(count**2 - predicted @ predicted) * np.sqrt(count**2 - true @ true)
        covariance = count * float((predictions == references).sum()) - float(predicted @ true)
        return {"matthews_correlation": float(covariance / spread) if spread else 0.0}


class F1Accuracy(_Metric):
    """F1 of class 1, and accuracy; GLUE's metrics for MRPC and QQP; F1 is 0 where class 1 is nowhere."""

    summary = "F1 of class 1, and accuracy; GLUE's metrics for MRPC and QQP; F1 is 0 where class 1 is nowhere"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        found, wanted = predictions == 1, references == 1
        either = float(found.sum() + wanted.sum())
        f1 = 2 * float((found & wanted).sum()) / either if either else 0.0
        return {"f1": f1, "accuracy": _accuracy(predictions, references)}


class PearsonSpearman(_Metric):
    """Pearson and Spearman correlation, GLUE's metrics for STS-B; 0 where all predictions are equal."""

    value_type = "float64"
    summary = "Pearson and Spearman correlation, GLUE's metrics for STS-B; 0 where all predictions are equal"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        if np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return {"pearson": 0.0, "spearman": 0.0}
        return {
            "pearson": _correlation(predictions, references),
            "spearman": _correlation(rankdata(predictions), rankdata(references)),
        }


class Perplexity(_Metric):
    """Perplexity, from negative log-likelihoods (nats) as predictions and numbers of tokens as references."""

    value_type = "float64"
    summary = "exponential of the negative log-likelihood (nats) of a token; predictions: sums, references: tokens"
    greater_is_better = False

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {"perplexity": float(np.exp(predictions.sum() / references.sum()))}


def _accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    return float(np.mean(predictions == references))


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Pearson correlation of two (examples,) arrays, neither of which is constant."""
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    # Each is brought to length 1 first, so that nothing overflows or vanishes in a product of both.
    return float(np.clip((ours / np.linalg.norm(ours)) @ (theirs / np.linalg.norm(theirs)), -1.0, 1.0))


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
