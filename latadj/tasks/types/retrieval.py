"""Queries, and the documents that answer them, found by their embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from latadj.tasks.data.retrieval import load_retrieval
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import require_room, tokenize
from latadj.tasks.metrics.metric import DEPTH
from latadj.tasks.outputs.embeddings import EmbeddingOutputs, unit
from latadj.tasks.types.base import TaskType

# Queries whose products with all documents are made at a time.
AT_ONCE = 256


class Retrieval(TaskType):
    """Which documents a query finds: a row for each query and, after them, one for each document.

    A prediction is the list of the documents nearest to a query by cosine, and empty for a document.
    """

    name = "retrieval"
    outputs = EmbeddingOutputs()
    by_length = False

    @property
    def width(self) -> int | None:
        return None

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        if train:
            raise ValueError(
                f"task={self.task.name} has queries to test with, and nothing to train or calibrate on: do that with "
                "task=embedding task.data_files=FILE, on texts such as the documents"
            )
        return load_retrieval(self.task)

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        require_room(tokenizer, limit)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        prefixes = {True: self.task.query_prefix, False: self.task.document_prefix}
        texts = [prefixes[query] + text for query, text in zip(examples["query"], examples["text"], strict=True)]
        rows = tokenize([texts], tokenizer, limit)
        return Dataset.from_list([row | {"length": len(row["input_ids"])} for row in rows])

    def rows_at(self, examples: Dataset) -> tuple[int, float] | None:
        speedup = self.task.query_speedup
        return None if speedup is None else (sum(examples["query"][:]), speedup)

    def references(self, examples: Dataset) -> list[list[int]]:
        return list(examples["relevant"][:])

    def predictions(self, answers: np.ndarray, encoded: Dataset, examples: Dataset) -> list[list[int]]:
        count = sum(examples["query"][:])
        queries, documents = unit(answers[:count]), unit(answers[count:])
        found: list[list[int]] = []
        for start in range(0, count, AT_ONCE):
            near = -(queries[start : start + AT_ONCE] @ documents.T)
            found += np.argsort(near, axis=1, kind="stable")[:, :DEPTH].tolist()
        return found + [[] for _ in documents]

    def agreement(self, predictions: list[list[int]], full: list[list[int]]) -> float:
        """Share of the full model's first ten documents that are among the first ten too."""
        pairs = [(set(ours[:10]), theirs[:10]) for ours, theirs in zip(predictions, full, strict=True) if theirs]
        return float(np.mean([len(ours.intersection(theirs)) / len(theirs) for ours, theirs in pairs]))

    def table(self, examples: Dataset, predictions: list[list[int]], answers: Any) -> pd.DataFrame:
        """Queries with the places of the first ten documents that they find, counted from 0."""
        queries = [text for text, query in zip(examples["text"], examples["query"], strict=True) if query]
        found = [" ".join(map(str, places[:10])) for places in predictions[: len(queries)]]
        return pd.DataFrame({"query": queries, "documents": found})
