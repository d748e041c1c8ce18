"""What `latadj explain` shows of a text's answer: labels, a tag for each word, or a span of a context."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from latadj.config import TaskConfig
from latadj.inference.explained_text import BETWEEN_BLANKS, Text, encode_text
from latadj.tasks.encoding.batches import PROTECTED, Batch
from latadj.tasks.encoding.question_windows import WindowLimits, null_position, shortened_questions
from latadj.tasks.outputs.answer_spans import best_spans
from latadj.tasks.outputs.logits import Outputs, SpanOutputs, TokenOutputs
from latadj.tasks.outputs.predict import HEAD


class ExplainedTask(ABC):
    """One type of task.

    Attributes
    ----------
    outputs : how the head's outputs are read
    """

    outputs: Outputs = HEAD

    def encode(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int) -> Text:
        """A text, or a pair, as the model is fed it; see :func:`latadj.inference.explained_text.encode_text`."""
        return encode_text(texts, tokenizer, limit)

    def inputs(self, text: Text) -> Batch:
        """The batch of one row that ``outputs`` runs."""
        return text.inputs

    @abstractmethod
    def answer(self, logits: Tensor, text: Text) -> dict[str, Any]:
        """Fields of a :class:`latadj.inference.explain.Reading`, from the outputs of that row."""


class Labels(ExplainedTask):
    """The probability of each label, or the value of a regression."""

    def __init__(self, *, regression: bool) -> None:
        self.regression = regression

    def answer(self, logits: Tensor, text: Text) -> dict[str, Any]:
        return {"outputs": tuple((logits if self.regression else logits.softmax(-1)).tolist())}


class Tags(ExplainedTask):
    """The tag of each word between blanks, read at its first token."""

    outputs = TokenOutputs()

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels

    def encode(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int) -> Text:
        return encode_text(texts, tokenizer, limit, words=BETWEEN_BLANKS)

    def answer(self, logits: Tensor, text: Text) -> dict[str, Any]:
        best = logits.argmax(-1).tolist()
        return {"tags": tuple("" if word.first is None else self.labels[best[word.first]] for word in text.words)}


class Answers(ExplainedTask):
    """The span of a context that answers a question, within the first window."""

    outputs = SpanOutputs()

    def __init__(self, task: TaskConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        from latadj.tasks.types.question_answering import QuestionAnswering  # needs the libraries for data sets

        self.task, self.tokenizer = task, tokenizer
        self.threshold = QuestionAnswering(task).threshold

    def encode(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int) -> Text:
        WindowLimits(limit, self.task.doc_stride, self.task.max_query_length).check(tokenizer)
        (question,) = shortened_questions(texts[:1], tokenizer, self.task.max_query_length)
        return encode_text([question, texts[1]], tokenizer, limit, truncation="only_second")

    def inputs(self, text: Text) -> Batch:
        if not self.task.protect_query:
            return text.inputs
        return {**text.inputs, PROTECTED: torch.from_numpy(text.parts == 0)[None]}

    def answer(self, logits: Tensor, text: Text) -> dict[str, Any]:
        null = null_position(text.inputs["input_ids"][0].tolist(), self.tokenizer)
        context = (text.parts == 1) & (np.arange(text.tokens) != null)
        start, end = logits.numpy().T
        spans = best_spans(
            [start[context]],
            [end[context]],
            np.array([start[null] + end[null]]),
            [text.offsets[context]],
            np.zeros(1, np.int64),
            1,
            n_best=self.task.n_best,
            max_answer_length=self.task.max_answer_length,
        )
        (answer,) = spans.best([text.texts[1]], self.threshold)
        inside = set()
        if answer.start is not None and answer.end is not None:
            overlaps = context & (text.offsets[:, 0] < answer.end) & (text.offsets[:, 1] > answer.start)
            inside = set(np.flatnonzero(overlaps).tolist())
        words = tuple(place for place, word in enumerate(text.words) if inside.intersection(word.pieces))
        return {"answer": answer, "answering": words}
