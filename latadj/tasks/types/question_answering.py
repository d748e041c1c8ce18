"""Extractive question answering, as in SQuAD: the answer is a span of a context."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from latadj.config import TaskConfig
from latadj.config.options.task import NO_ANSWER
from latadj.tasks.data.questions import load_questions
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import IGNORED, POSITIONS, PROTECTED
from latadj.tasks.encoding.question_windows import ContextWindow, WindowLimits, first_answers, windows_of
from latadj.tasks.metrics.squad import AnswerScores, best_threshold
from latadj.tasks.outputs.answer_spans import BestSpans, best_spans
from latadj.tasks.outputs.logits import CANDIDATE, END, START, SpanOutputs
from latadj.tasks.types.base import TaskType

# Written in place of infinite odds, which JSON lacks: such a question has no span to answer with.
FAR = 1e9


class QuestionAnswering(TaskType):
    """A span of the context for each question, or none: a row for each window over the context.

    Attributes
    ----------
    threshold : odds of no answer from above which none is given; None where each question has one, or until it is
        found on the validation split
    """

    name = "question_answering"
    outputs = SpanOutputs()

    def __init__(self, task: TaskConfig) -> None:
        super().__init__(task)
        self.threshold = task.null_threshold if self.no_answer else None

    @property
    def no_answer(self) -> bool:
        """Whether a question may have no answer, as in SQuAD 2.0."""
        return self.task.metric == NO_ANSWER

    @property
    def tunes_threshold(self) -> bool:
        return self.no_answer and self.task.null_threshold is None

    @property
    def thresholds(self) -> dict[str, float]:
        return {} if self.threshold is None else {"null_threshold": self.threshold}

    @property
    def width(self) -> int:
        return 2

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        validation = train or self.tunes_threshold
        return load_questions(self.task, no_answer=self.no_answer, train=train, validation=validation)

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        self._window_limits(limit).check(tokenizer)

    def _window_limits(self, limit: int) -> WindowLimits:
        return WindowLimits(limit, self.task.doc_stride, self.task.max_query_length)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        """Rows as in :class:`TaskType`, the windows of one question after each other.

        Columns besides: ``example`` (the question's place), ``offsets`` (from which character of the context to which
        each of its tokens goes, one after the other) and ``null`` (which of the positions means "no answer"); what
        ``labels`` mean is in ``latadj.tasks.outputs.logits``.
        """

        def some(rows: dict[str, list[Any]], places: list[int]) -> dict[str, list[Any]]:
            answers = first_answers(rows["texts"], rows["starts"])
            windows = windows_of(rows["question"], rows["context"], answers, tokenizer, self._window_limits(limit))
            encoded = [self._row(window, places[window.example]) for window in windows]
            return {name: [row[name] for row in encoded] for name in encoded[0]}

        return examples.map(
            some,
            batched=True,
            with_indices=True,
            remove_columns=examples.column_names,
            load_from_cache_file=False,
        )

    def _row(self, window: ContextWindow, example: int) -> dict[str, Any]:
        length = len(window.inputs["input_ids"])
        positions = sorted([window.null, *range(*window.context)])
        labels = np.full(length, IGNORED)
        labels[positions] = CANDIDATE
        labels[window.start] += START
        labels[window.end] += END
        row = {
            **window.inputs,
            "length": length,
            "labels": labels.tolist(),
            POSITIONS: positions,
            "example": example,
            "offsets": window.offsets.ravel().tolist(),
            "null": positions.index(window.null),
        }
        return {**row, PROTECTED: list(window.question)} if self.task.protect_query else row

    def references(self, examples: Dataset) -> list[list[str]]:
        return list(examples["texts"])

    def predictions(self, answers: Sequence[np.ndarray], encoded: Dataset, examples: Dataset) -> list[str]:
        """The answer to each question, "" for none."""
        return self.spans(answers, encoded, examples).answers(examples["context"], self.threshold)

    def spans(self, answers: Sequence[np.ndarray], encoded: Dataset, examples: Dataset) -> BestSpans:
        """The best spans of each question; parameters as those of ``predictions``."""
        places = encoded["null"][:]  # a slice reads a column at once
        contexts = [np.delete(answer, null, axis=0) for answer, null in zip(answers, places, strict=True)]
        return best_spans(
            [context[:, 0] for context in contexts],
            [context[:, 1] for context in contexts],
            np.array([answer[null].sum() for answer, null in zip(answers, places, strict=True)]),
            [np.asarray(offsets, dtype=np.int64).reshape(-1, 2) for offsets in encoded["offsets"][:]],
            np.asarray(encoded["example"][:]),
            len(examples),
            n_best=self.task.n_best,
            max_answer_length=self.task.max_answer_length,
        )

    def tune_threshold(self, answers: Sequence[np.ndarray], encoded: Dataset, examples: Dataset) -> None:
        """Take the threshold with the best F1 on these questions, if the task does not name one."""
        if not self.tunes_threshold:
            return
        spans, golds = self.spans(answers, encoded, examples), self.references(examples)
        answered = AnswerScores.of(spans.texts(examples["context"]), golds, no_answer=True)
        silent = AnswerScores.of([""] * len(golds), golds, no_answer=True)
        self.threshold = best_threshold(spans.odds, answered.f1, silent.f1).value

    def agreement(self, predictions: list[str], full: list[str]) -> float:
        """Share of the questions with the same answer."""
        return float(np.mean([one == other for one, other in zip(predictions, full, strict=True)]))

    def table(self, examples: Dataset, predictions: list[str], answers: Any) -> pd.DataFrame:
        golds = self.references(examples)
        scores = AnswerScores.of(predictions, golds, no_answer=self.no_answer)
        return pd.DataFrame(
            {
                "id": examples["id"],
                "question": examples["question"],
                "prediction": predictions,
                "answers": [" | ".join(texts) for texts in golds],
                "f1": scores.f1,
                "exact_match": scores.exact,
            }
        )

    def files(self, answers: Sequence[np.ndarray], encoded: Dataset, examples: Dataset) -> dict[str, Any]:
        """``predictions``: id -> answer, as the official evaluation reads it; ``nbest``: id -> spans, and
        ``null_odds``: id -> odds of no answer, where there may be none.
        """
        spans, names = self.spans(answers, encoded, examples), examples["id"]
        contexts = list(examples["context"])
        files: dict[str, Any] = {
            "predictions": dict(zip(names, spans.answers(contexts, self.threshold), strict=True)),
            "nbest": dict(zip(names, spans.n_best(contexts, no_answer=self.no_answer), strict=True)),
        }
        if self.no_answer:
            odds = np.nan_to_num(spans.odds, posinf=FAR).tolist()
            files["null_odds"] = dict(zip(names, odds, strict=True))
        return files
