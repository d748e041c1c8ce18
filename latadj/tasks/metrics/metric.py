"""GLUE's metrics and perplexity as `evaluate.Metric`s that need no hub.

Each score is a few lines of numpy, since a bootstrap interval asks for thousands of them and scikit-learn spends most
of each call on looking at its arguments. The tests hold them to scikit-learn and scipy.
"""

from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import rankdata

from latadj.config import GENERATION, TaskConfig
from latadj.tasks.metrics import entities
from latadj.tasks.metrics.squad import AnswerScores


class _Metric(evaluate.Metric):
    """A metric that is computed here; ``value_type`` is ``int64`` for classes, ``float64`` for a regression.

    kind : of the tasks that it scores
    """

    kind = "classification"
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

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        """(examples, n) all that ``over`` needs to know of each example: what is resampled for an interval."""
        return np.stack([predictions, references], axis=1)

    @classmethod
    def over(cls, counts: np.ndarray) -> dict[str, float]:
        """The scores of the examples that ``per_example`` made ``counts`` of, or of any choice of them."""
        return cls.scores(*counts.T)


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
    """Pearson and Spearman correlation, GLUE's metrics for STS-B; 0 where all predictions are equal, or one is none."""

    value_type = "float64"
    summary = "Pearson and Spearman correlation, GLUE's metrics for STS-B; 0 if all predictions are equal or one is NaN"

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        if np.ptp(predictions) == 0 or np.ptp(references) == 0 or not np.isfinite(predictions).all():
            return {"pearson": 0.0, "spearman": 0.0}
        return {
            "pearson": _correlation(predictions, references),
            "spearman": _correlation(rankdata(predictions), rankdata(references)),
        }


class Perplexity(_Metric):
    """Perplexity, from negative log-likelihoods (nats) as predictions and numbers of tokens as references."""

    kind = GENERATION
    value_type = "float64"
    summary = "exponential of the negative log-likelihood (nats) of a token; predictions: sums, references: tokens"
    greater_is_better = False

    @staticmethod
    def scores(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {"perplexity": float(np.exp(predictions.sum() / references.sum()))}


class EntityF1(_Metric):
    """F1 of whole entities, and precision, recall and the accuracy of words, as `conlleval` and seqeval count."""

    kind = "token_classification"
    headline, strict = "entity_f1", False
    summary = "micro-averaged F1 of entities, with their right borders and type; predictions, references: lists of tags"

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=self.summary,
            citation="",
            inputs_description="predictions, references: a list of tags for each sentence",
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return self.over(self.per_example(predictions, references))

    @classmethod
    def scores(cls, predictions: Any, references: Any) -> dict[str, float]:
        return cls.over(cls.per_example(predictions, references))

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        return entities.counts(predictions, references, cls.strict)

    @classmethod
    def over(cls, counts: np.ndarray) -> dict[str, float]:
        found = entities.scores(counts)
        return {cls.headline: found.pop("f1"), **found}


class StrictEntityF1(EntityF1):
    """The same by the rules of the tagging scheme, as seqeval's strict mode: no entity starts with ``I-`` in IOB2."""

    headline, strict = "entity_f1_strict", True


class TagAccuracy(EntityF1):
    """Share of words with the right tag, for tags that mark no entities, such as parts of speech."""

    headline = "tag_accuracy"
    summary = "share of words with the right tag; predictions, references: lists of tags"

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        return entities.words(predictions, references)

    @classmethod
    def over(cls, counts: np.ndarray) -> dict[str, float]:
        right, words = counts.sum(axis=0).tolist()
        return {cls.headline: right / words}


class SquadF1(_Metric):
    """F1 of answers' words, and exact match, as SQuAD 1.1 defines them."""

    kind = "question_answering"
    headline, no_answer = "squad_f1", False
    summary = "F1 of answers' words, and exact match; predictions: texts, references: a list of right texts for each"

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=self.summary,
            citation="",
            inputs_description="predictions: a text for each question; references: a list of texts, none: no answer",
            features=datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return self.scores(predictions, references)

    @classmethod
    def scores(cls, predictions: Any, references: Any) -> dict[str, float]:
        return cls.over(cls.per_example(predictions, references))

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        found = AnswerScores.of(predictions, references, no_answer=cls.no_answer)
        return np.stack([found.exact, found.f1, found.answerable], axis=1)

    @classmethod
    def over(cls, counts: np.ndarray) -> dict[str, float]:
        exact, f1, answerable = counts.T
        return AnswerScores(exact, f1, answerable > 0).summary(cls.headline, groups=cls.no_answer)


class SquadV2F1(SquadF1):
    """The same where a question may have no answer, as SQuAD 2.0 defines it, and for those with and without one."""

    headline, no_answer = "squad_v2_f1", True


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
    "entity_f1": EntityF1,
    "entity_f1_strict": StrictEntityF1,
    "tag_accuracy": TagAccuracy,
    "squad_f1": SquadF1,
    "squad_v2_f1": SquadV2F1,
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
    """Refuse a metric of classes for a regression, and the other way round.

    Raises
    ------
    ValueError
    """
    wanted = "int64" if task.labels else "float64"
    if task.metric == "f1" and len(task.labels or ()) > 2:
        raise ValueError(
            f"task.metric=f1: it is that of the second of two labels, and task {task.name} has "
            f"{len(task.labels or ())}: take accuracy or matthews_correlation"
        )
    if metric_of(task.metric).value_type != wanted:
        ours = {name: metric for name, metric in METRICS.items() if metric.kind == "classification"}
        possible = [name for name, metric in ours.items() if metric.value_type == wanted]
        what = f"task {task.name} has classes" if task.labels else f"task {task.name} has no labels, it is a regression"
        raise ValueError(f"task.metric={task.metric}: {what}: expected one of {', '.join(possible)}")
