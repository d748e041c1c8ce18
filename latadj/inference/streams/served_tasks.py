"""How each type of task is served: which rows a model reads of texts, which answers it gives, how these are written."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import softmax
from transformers import PreTrainedTokenizerBase

from latadj.config import TaskConfig
from latadj.inference.streams.writing import short
from latadj.tasks.encoding.batches import rows_of, tokenize
from latadj.tasks.outputs.answer_spans import Answer
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD
from latadj.tasks.types.question_answering import QuestionAnswering
from latadj.tasks.types.token_classification import TokenClassification


class ServedTask(ABC):
    """One type of task.

    Attributes
    ----------
    outputs : how the head's outputs are read
    columns : of a CSV file, behind ``row`` and ``id``
    """

    outputs: Outputs = HEAD
    columns: Sequence[str]

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


class Tags(ServedTask):
    """A tag for each word of a text, between blanks; an answer is (words, tags, probabilities) of equal length.

    In CSV each of the three is one field, its entries divided by single blanks.
    """

    columns = ("words", "tags", "probabilities")

    def __init__(self, task: TaskConfig) -> None:
        self.task_type = TokenClassification(task)
        self.outputs = self.task_type.outputs

    def encode(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, limit: int
    ) -> tuple[list[dict[str, Any]], Any]:
        sentences = [text.split() for text in texts[0]]
        # The task's own encoding, which trains too, asks for tags.
        examples = Dataset.from_dict({"tokens": sentences, "tags": [[""] * len(words) for words in sentences]})
        encoded = self.task_type.encode(examples, tokenizer, limit)
        return rows_of(encoded), (encoded, examples)

    def answers(self, outputs: Any, encoded: Any) -> list[tuple[list[str], list[str], list[float]]]:
        rows, examples = encoded
        tagged = self.task_type.tagged(outputs, rows, examples)
        return [(words, *answer) for words, answer in zip(examples["tokens"][:], tagged, strict=True)]

    def record(self, answer: tuple[list[str], list[str], list[float]]) -> list[Any]:
        words, tags, probabilities = answer
        return [" ".join(words), " ".join(tags), " ".join(map(short, probabilities))]

    def fields(self, answer: tuple[list[str], list[str], list[float]]) -> dict[str, Any]:
        words, tags, probabilities = answer
        return {"words": words, "tags": tags, "probabilities": [float(short(one)) for one in probabilities]}


class Spans(ServedTask):
    """A span of a context that answers a question, or none."""

    columns = ("answer", "start", "end", "probability", "score")

    def __init__(self, task: TaskConfig) -> None:
        self.task_type = QuestionAnswering(task)
        self.outputs = self.task_type.outputs

    def encode(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, limit: int
    ) -> tuple[list[dict[str, Any]], Any]:
        questions, contexts = texts
        none: list[list[Any]] = [[] for _ in questions]
        examples = Dataset.from_dict({"question": questions, "context": contexts, "texts": none, "starts": none})
        encoded = self.task_type.encode(examples, tokenizer, limit)
        return rows_of(encoded), (encoded, examples)

    def answers(self, outputs: Any, encoded: Any) -> list[Answer]:
        rows, examples = encoded
        return self.task_type.spans(outputs, rows, examples).best(examples["context"][:], self.task_type.threshold)

    def record(self, answer: Answer) -> list[Any]:
        return [answer.text, answer.start, answer.end, short(answer.probability), short(answer.score)]

    def fields(self, answer: Answer) -> dict[str, Any]:
        numbers = {"probability": float(short(answer.probability)), "score": float(short(answer.score))}
        return {"answer": answer.text, "start": answer.start, "end": answer.end, **numbers}
