"""Queries, and candidates that are scored beside them, one pair of texts at a time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from latadj.elimination.pair_frame import PairFrame
from latadj.tasks.data.reranking import load_candidates
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import PROTECTED, require_room, tokenize
from latadj.tasks.outputs.scores import ScoreOutputs, odds
from latadj.tasks.types.base import TaskType


class Reranking(TaskType):
    """In which order a query's candidates answer it: a row for each pair of a query and a candidate.

    An example is a query with all of its candidates. A prediction is the list of their places, the best first.
    """

    name = "reranking"
    scored_as = "retrieval"
    outputs = ScoreOutputs()

    @property
    def width(self) -> int:
        return len(self.task.labels or ()) or 1

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        return load_candidates(self.task, train=train)

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        require_room(tokenizer, limit, 2)
        if self.task.protect_query:
            PairFrame.of(tokenizer)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        """Rows as in :class:`TaskType`, with the ``example`` of each: the pairs of one query follow each other."""
        documents = examples["documents"][:]  # a slice reads a column at once
        owners = np.repeat(np.arange(len(documents)), list(map(len, documents))).tolist()
        queries, labels = examples["query"][:], [score for scores in examples["scores"][:] for score in scores]
        pairs = [[queries[owner] for owner in owners], [text for texts in documents for text in texts]]
        rows = tokenize(pairs, tokenizer, limit)
        frame = PairFrame.of(tokenizer) if self.task.protect_query else None
        for row, owner, label in zip(rows, owners, labels, strict=True):
            row |= {"labels": float(label), "example": owner, "length": len(row["input_ids"])}
            if frame is not None:
                row[PROTECTED] = frame.spans(row["input_ids"])
        return Dataset.from_list(rows)

    def references(self, examples: Dataset) -> list[list[float]]:
        """The place of each candidate that answers a query, and how well it does, in turn."""
        return [
            [number for place, score in enumerate(scores) if score > 0 for number in (place, score)]
            for scores in examples["scores"][:]
        ]

    def predictions(self, answers: np.ndarray, encoded: Dataset, examples: Dataset) -> list[list[int]]:
        return [np.argsort(-scores, kind="stable").tolist() for scores in _by_query(answers, encoded, len(examples))]

    def scores(self, predictions: list[list[int]], examples: Dataset) -> dict[str, float]:
        """NDCG and MRR of the first ten; all candidates are found, so that recall says nothing."""
        return {name: value for name, value in super().scores(predictions, examples).items() if name != "recall"}

    def agreement(self, predictions: list[list[int]], full: list[list[int]]) -> float:
        """Share of the queries with the same candidate at the top."""
        return float(np.mean([ours[0] == theirs[0] for ours, theirs in zip(predictions, full, strict=True)]))

    def table(self, examples: Dataset, predictions: list[list[int]], answers: np.ndarray) -> pd.DataFrame:
        """A row for each candidate, the best first, with its score in the data and the model's log-odds."""
        rows, given = [], iter(odds(answers).tolist())
        for example, order in zip(examples, predictions, strict=True):
            own = [next(given) for _ in order]
            rows += [
                (example["query"], rank, example["documents"][place], example["scores"][place], own[place])
                for rank, place in enumerate(order, start=1)
            ]
        return pd.DataFrame(rows, columns=["query", "rank", "document", "score", "prediction"])


def _by_query(answers: np.ndarray, encoded: Dataset, queries: int) -> list[np.ndarray]:
    """The scores of each query's candidates."""
    counts = np.bincount(encoded["example"][:], minlength=queries)
    return np.split(odds(answers), np.cumsum(counts)[:-1])
