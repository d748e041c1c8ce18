"""What every kind of task has to say."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from latadj.config import TaskConfig
from latadj.tasks.data.splits import Splits
from latadj.tasks.metrics.metric import METRICS, metric_of
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD


class TaskType(ABC):
    """One kind of task: from examples to rows that a model is fed, and from its answers to scores of the examples.

    An example may become several rows (windows over a long text) or none at all. How one row's answer is read,
    compared and trained is what ``outputs`` says; nothing else needs to know where a head reads.

    Parameters
    ----------
    task : for all but ``check`` and ``load`` its labels are a list, found in the data if it left them open

    Attributes
    ----------
    name : as in ``task.type``; the model needs the head of the same name, see ``latadj.checkpoints.model_class``
    outputs : how the head's answers are read
    """

    name: str
    outputs: Outputs = HEAD

    def __init__(self, task: TaskConfig) -> None:
        self.task = task

    def check(self) -> None:
        """Refuse a task whose metric is none of this kind's.

        Raises
        ------
        ValueError
        """
        possible = [name for name, metric in METRICS.items() if metric.kind == self.name]
        if self.task.metric not in possible:
            raise ValueError(f"task.metric={self.task.metric}: expected one of {', '.join(possible)}")

    @property
    def tunes_threshold(self) -> bool:
        """Whether ``predictions`` depend on a choice that validation examples decide; see ``tune_threshold``."""
        return False

    @property
    def thresholds(self) -> dict[str, float]:
        """What ``tune_threshold`` chose, by name."""
        return {}

    def tune_threshold(self, answers: Any, encoded: Dataset, examples: Dataset) -> None:  # noqa: B027 most have no choice
        """Choose what ``predictions`` depend on by the validation split; parameters as there."""

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:  # noqa: B027 most fit any
        """Refuse a tokenizer, or a number of tokens a row, with which nothing can be encoded.

        Raises
        ------
        ValueError
        """

    @property
    @abstractmethod
    def width(self) -> int:
        """Outputs that the head has, at each place it reads."""

    @abstractmethod
    def load(self, known: Sequence[str] | None, *, train: bool) -> Splits:
        """The task's examples, and the labels that they have.

        Parameters
        ----------
        known, train : as in `latadj.tasks.types.load_splits`

        Raises
        ------
        ValueError
            if they cannot be had, or are not what the task says.
        """

    @abstractmethod
    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        """Rows of at most ``limit`` tokens, those of one example after each other.

        Columns out: what the tokenizer makes, ``length`` (tokens), the columns that ``outputs.targets`` names and,
        where the head reads every token, ``positions`` (those asked about, rising). More may stand there for
        ``predictions``.
        """

    @abstractmethod
    def references(self, examples: Dataset) -> Any:
        """What is right for each example: a list or array of them."""

    @abstractmethod
    def predictions(self, answers: Any, encoded: Dataset, examples: Dataset) -> Any:
        """What a model says of each example: a list or array of them, in their order.

        Parameters
        ----------
        answers : what `latadj.tasks.outputs.predict.predict` gave for the rows of ``encoded``
        encoded : what ``encode`` made of ``examples``
        """

    def scores(self, predictions: Any, examples: Dataset) -> dict[str, float]:
        """The task's scores by name, the headline among them."""
        return metric_of(self.task.metric).scores(predictions, self.references(examples))

    @abstractmethod
    def agreement(self, ours: Any, full: Any) -> float:
        """Share of the decisions in ``full`` that are made in ``ours`` too; both are ``predictions``."""

    @abstractmethod
    def table(self, examples: Dataset, predictions: Any, answers: Any) -> pd.DataFrame:
        """Examples and predictions as people read them."""

    def files(self, answers: Any, encoded: Dataset, examples: Dataset) -> dict[str, Any]:
        """What others read predictions from besides the table: name of a JSON file -> its content."""
        return {}
