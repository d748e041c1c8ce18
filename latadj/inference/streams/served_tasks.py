"""How each type of task is served: which rows a model reads of texts, which answers it gives, how these are written."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.inference.streams.layouts import short
from latadj.inference.streams.ranges import Ranges
from latadj.tasks.encoding.batches import require_room, tokenize
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD


class ServedTask(ABC):
    """One type of task.

    Attributes
    ----------
    outputs : how the head's outputs are read
    columns : of a CSV file, behind ``row`` and ``id``
    ranges : of vectors of 8 bits, once they are known
    """

    outputs: Outputs = HEAD
    columns: Sequence[str]
    ranges: Ranges | None = None

    @abstractmethod
    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int, texts: int) -> None:
        """Refuse a limit in tokens at which nothing of so many texts a row is read, with a ``ValueError``."""

    @abstractmethod
    def encode(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, limit: int
    ) -> tuple[list[dict[str, Any]], Any]:
        """The rows that a model reads of texts, in any number, and what ``answers`` needs of them.

        Parameters
        ----------
        texts : one sequence of texts for each text column, all of one length, at least 1
        limit : tokens of a row
        """

    @abstractmethod
    def answers(self, outputs: Any, encoded: Any) -> Any:
        """A sequence of the answers to the texts in their order, from the outputs of the rows in their order."""

    @abstractmethod
    def record(self, answer: Any) -> list[Any]:
        """An answer as values of ``columns``."""

    @abstractmethod
    def fields(self, answer: Any) -> dict[str, Any]:
        """An answer as fields of a JSON object, which has neither infinity nor NaN."""

    @abstractmethod
    def arrow_types(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """Arrow's types of ``fields``, by name."""


class Labels(ServedTask):
    """A text or a pair with a class, or a value where there are no labels; an answer is (labels,) probabilities.

    Parameters
    ----------
    labels : names of the classes; empty for a regression
    every : write the probability of every class, not only of the likeliest
    """

    def __init__(self, labels: Sequence[str], every: bool = False) -> None:
        self.labels, self.every = labels, every
        of_all = [f"probability_{label}" for label in labels] if every else []
        self.columns = ["label", "probability", *of_all] if labels else ["value"]

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int, texts: int) -> None:
        require_room(tokenizer, limit, texts)

    def encode(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, limit: int
    ) -> tuple[list[dict[str, Any]], Any]:
        return tokenize(texts, tokenizer, limit), None

    def answers(self, outputs: np.ndarray, encoded: Any) -> np.ndarray:
        """(texts, labels) probabilities, of a regression (texts, 1) values; float32."""
        return softmax(outputs, axis=-1) if self.labels else outputs

    def record(self, answer: np.ndarray) -> list[Any]:
        if not self.labels:
            return [short(answer[0])]
        best = int(answer.argmax())
        return [self.labels[best], short(answer[best]), *(map(short, answer) if self.every else [])]

    def fields(self, answer: np.ndarray) -> dict[str, Any]:
        if not self.labels:
            return {"value": float(short(answer[0]))}
        best = int(answer.argmax())
        fields: dict[str, Any] = {"label": self.labels[best], "probability": float(short(answer[best]))}
        if self.every:
            shares = zip(self.labels, answer, strict=True)
            fields["probabilities"] = {name: float(short(share)) for name, share in shares}
        return fields

    def arrow_types(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        import pyarrow as pa

        if not self.labels:
            return {"value": pa.float64()}
        of_all = {"probabilities": pa.struct([(label, pa.float64()) for label in self.labels])} if self.every else {}
        return {"label": pa.string(), "probability": pa.float64(), **of_all}
