"""What every metric is: an `evaluate.Metric` that needs no hub."""

from typing import Any

import datasets
import evaluate
import numpy as np


class Metric(evaluate.Metric):
    """A metric that is computed here.

    A class counts per example once, and ``aggregate`` makes scores of any choice of these counts, so that resampling
    for an interval only has to add up.

    task_type : type of the tasks that it scores
    value_type : ``int64`` for classes, ``float64`` for a regression
    lists : whether an answer is a list of such values
    inputs : description of the predictions and references
    """

    task_type = "classification"
    value_type = "int64"
    lists = False
    inputs = "predictions, references: one number for each example"
    greater_is_better = True

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            inputs_description=self.inputs,
            features=datasets.Features(self.value_types()),
        )

    @classmethod
    def value_types(cls) -> dict[str, Any]:
        """Types of the predictions and references."""
        value = datasets.Value(cls.value_type)
        return dict.fromkeys(("predictions", "references"), datasets.Sequence(value) if cls.lists else value)

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return self.scores(predictions, references)

    @classmethod
    def scores(cls, predictions: Any, references: Any) -> dict[str, float]:
        """Scores by name, the headline first, as fractions of 1."""
        return cls.aggregate(cls.per_example(predictions, references))

    @classmethod
    def per_example(cls, predictions: Any, references: Any) -> np.ndarray:
        """(examples, n) counts from which ``aggregate`` computes the scores."""
        return np.stack([predictions, references], axis=1)

    @classmethod
    def aggregate(cls, counts: np.ndarray) -> dict[str, float]:
        """The scores of the examples of these counts."""
        raise TypeError("a metric is one of METRICS")
