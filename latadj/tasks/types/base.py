"""What every type of task answers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import TaskConfig
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import token_limit
from latadj.tasks.metrics.metric import METRICS, metric_of
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD
from latadj.utils.suggestions import did_you_mean

FEW_WORDS = 8


def few_words(text: str, place: int) -> str:
    """The first 1 to ``FEW_WORDS`` words of a text: each number of words in turn, by its place among the texts."""
    return " ".join(text.split()[: place % FEW_WORDS + 1])


class TaskType(ABC):
    """One type of task: from examples to the rows that a model reads, and from its outputs to scores.

    An example may become several rows (windows over a long text) or none at all. How the output of one row is read,
    compared and trained is what ``outputs`` says; nothing else needs to know which positions a head reads.

    Parameters
    ----------
    task : for all but ``check`` and ``load`` its labels are a list, found in the data if the config leaves them open

    Attributes
    ----------
    name : as in ``task.type``
    scored_as : the type of task whose metrics it has; None: it has its own
    outputs : how the head's outputs are read
    by_length : whether examples can be told apart by their lengths
    scores_continuations : whether a language model is scored on continuations, see
        `latadj.tasks.outputs.likelihood`; otherwise a head or a prompt answers for each example
    """

    name: str
    scored_as: str | None = None
    outputs: Outputs = HEAD
    by_length: bool = True
    scores_continuations: bool = False

    def __init__(self, task: TaskConfig) -> None:
        self.task = task

    def check(self) -> None:
        """Refuse a task whose metric does not fit its type.

        Raises
        ------
        ValueError
        """
        possible = [name for name, metric in METRICS.items() if metric.task_type == (self.scored_as or self.name)]
        if self.task.metric not in possible:
            meant = did_you_mean(self.task.metric, possible)
            raise ValueError(f"task.metric={self.task.metric}: expected one of {', '.join(possible)}{meant}")

    @property
    def default_batch(self) -> int:
        """Sequences that are served at a time where the config does not say."""
        return self.task.batch_size

    @property
    def tunes_threshold(self) -> bool:
        """Whether ``predictions`` depend on a threshold that validation examples decide; see ``tune_threshold``."""
        return False

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds that ``predictions`` use, by name."""
        return {}

    def tune_threshold(self, answers: Any, encoded: Dataset, examples: Dataset) -> None:  # noqa: B027 most have none
        """Choose the threshold on the validation split; parameters as those of ``predictions``."""

    def rows_at(self, examples: Dataset) -> tuple[int, float] | None:
        """How many of the first rows run at a speedup of their own, whatever the dial, and at which; None: none do.

        These are not timed.
        """
        return None

    @property
    def refers_to_full_model(self) -> bool:
        """Whether the right answers are the full model's own; see ``with_references``."""
        return False

    def with_references(self, examples: Dataset, answers: Any) -> Dataset:
        """The examples with the full model's answers to them, which ``references`` gives from then on."""
        raise TypeError(f"the answers to {self.name} are in its examples")

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:  # noqa: B027 most fit any
        """Refuse a tokenizer, or a number of tokens a row, with which nothing can be encoded.

        Raises
        ------
        ValueError
        """

    def limit(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
        """Tokens that an encoded row may have; None: any number."""
        return token_limit(model, tokenizer, self.task)

    @property
    @abstractmethod
    def width(self) -> int | None:
        """Outputs that the head has at each position it reads; None: the vocabulary."""

    @abstractmethod
    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        """The task's examples, and the labels that they have.

        They come from ``task.data_files``, ``task.data_dir``, an installed package or the hub.

        Parameters
        ----------
        known : the labels that a checkpoint was made for; they count where the task leaves its labels to the data
        train : whether training examples are needed; else a file of tests is enough

        Raises
        ------
        ValueError
            if they cannot be found, or do not fit the task.
        """

    @abstractmethod
    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: Any) -> Dataset:
        """Rows of at most ``limit`` tokens (see :meth:`limit`), those of one example after each other.

        Columns out: what the tokenizer makes, ``length`` (tokens), the columns that ``outputs.targets`` names and,
        where the head reads every token, ``positions`` (those that are read, rising). There may be more for
        ``predictions``.
        """

    def shortened(self, examples: Dataset) -> Dataset | None:
        """The examples cut to 1 to ``FEW_WORDS`` words, each number in turn; None where that leaves no question."""
        return None

    @abstractmethod
    def references(self, examples: Dataset) -> Any:
        """The right answer to each example, in a list or array."""

    @abstractmethod
    def predictions(self, answers: Any, encoded: Dataset, examples: Dataset) -> Any:
        """A model's answer to each example, in a list or array.

        Parameters
        ----------
        answers : the outputs of `latadj.tasks.outputs.predict.predict` for the rows of ``encoded``
        encoded : the rows that ``encode`` made of ``examples``
        """

    def scores(self, predictions: Any, examples: Dataset) -> dict[str, float]:
        """The task's scores by name, the headline among them."""
        return metric_of(self.task.metric).scores(predictions, self.references(examples))

    @abstractmethod
    def agreement(self, predictions: Any, full: Any) -> float:
        """Share of the full model's decisions that another model makes too; both are ``predictions``."""

    @abstractmethod
    def table(self, examples: Dataset, predictions: Any, answers: Any) -> pd.DataFrame:
        """Examples and predictions as people read them."""

    def files(self, answers: Any, encoded: Dataset, examples: Dataset) -> dict[str, Any]:
        """Predictions in formats that other tools read, besides the table: name of a JSON file -> its content."""
        return {}
