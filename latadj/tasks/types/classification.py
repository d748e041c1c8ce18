"""Texts, or pairs of them, each with a class or a number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from scipy.special import softmax
from transformers import PreTrainedTokenizerBase

from latadj.tasks.data.classification import load_labelled_texts
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import encode, require_room
from latadj.tasks.metrics.metric import check_metric
from latadj.tasks.outputs.logits import agreement, decisions
from latadj.tasks.types.base import TaskType, few_words


class Classification(TaskType):
    """A class for each text, or a number where the task has no labels: a row for each example."""

    name = "classification"

    @property
    def regression(self) -> bool:
        """Whether the answer is a number."""
        return not self.task.labels

    @property
    def width(self) -> int:
        return len(self.task.labels or ()) or 1

    def check(self) -> None:
        super().check()
        if self.task.labels is not None:
            check_metric(self.task)

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        return load_labelled_texts(self.task, known, train=train)

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        require_room(tokenizer, limit, len(self.task.text))

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        return encode(examples, tokenizer, self.task, limit)

    def shortened(self, examples: Dataset) -> Dataset:
        def cut(example: dict[str, Any], place: int) -> dict[str, str]:
            return {name: few_words(str(example[name]), place) for name in self.task.text}

        return examples.map(cut, with_indices=True, load_from_cache_file=False)

    def references(self, examples: Dataset) -> np.ndarray:
        return np.asarray(examples["label"])

    def predictions(self, answers: np.ndarray, encoded: Dataset, examples: Dataset) -> np.ndarray:
        return decisions(answers, self.regression)

    def agreement(self, predictions: np.ndarray, full: np.ndarray) -> float:
        return agreement(predictions, full, self.regression)

    def table(self, examples: Dataset, predictions: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
        frame: Any = examples.to_pandas()
        names = self.task.labels
        frame["prediction"] = [names[int(value)] for value in predictions] if names else predictions
        if names:
            frame["confidence"] = softmax(answers, axis=-1).max(axis=1)
            frame["label"] = [names[value] for value in frame["label"]]
        return frame
