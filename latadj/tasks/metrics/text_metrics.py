"""Metrics of answers that are words: the tags of a sentence, and the answer to a question."""

from typing import Any

import datasets
import numpy as np

from latadj.tasks.metrics import entities
from latadj.tasks.metrics.base import Metric
from latadj.tasks.metrics.squad import AnswerScores


class EntityF1(Metric):
    """F1 of whole entities, and precision, recall and the accuracy of words, as `conlleval` and seqeval count."""

    task_type = "token_classification"
    value_type, lists = "string", True
    headline, strict = "entity_f1", False
    inputs = "predictions, references: a list of tags for each sentence"

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        return entities.counts(predictions, references, cls.strict)

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        scores = entities.scores(counts)
        return {cls.headline: scores.pop("f1"), **scores}


class StrictEntityF1(EntityF1):
    """The same by the rules of the tagging scheme, as seqeval's strict mode: no entity starts with ``I-`` in IOB2."""

    headline, strict = "entity_f1_strict", True


class TagAccuracy(EntityF1):
    """Share of words with the right tag, for tags that mark no entities, such as parts of speech."""

    headline = "tag_accuracy"

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        return entities.words(predictions, references)

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        right, words = counts.sum(axis=0).tolist()
        return {cls.headline: right / words}


class SquadF1(Metric):
    """F1 of answers' words, and exact match, as SQuAD 1.1 defines them."""

    task_type = "question_answering"
    headline, no_answer = "squad_f1", False
    inputs = "predictions: a text for each question; references: a list of right texts, none: no answer"

    @classmethod
    def value_types(cls) -> dict[str, Any]:
        text = datasets.Value("string")
        return {"predictions": text, "references": datasets.Sequence(text)}

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        scores = AnswerScores.of(predictions, references, no_answer=cls.no_answer)
        return np.stack([scores.exact, scores.f1, scores.answerable], axis=1)

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        exact, f1, answerable = counts.T
        return AnswerScores(exact, f1, answerable > 0).summary(cls.headline, groups=cls.no_answer)


class SquadV2F1(SquadF1):
    """The same where a question may have no answer, as SQuAD 2.0 defines it, and for those with and without one."""

    headline, no_answer = "squad_v2_f1", True
