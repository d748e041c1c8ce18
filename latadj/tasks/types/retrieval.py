"""Queries, and the documents that answer them, found by their embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from latadj.tasks.data.retrieval import load_retrieval
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import tokenize
from latadj.tasks.metrics.cosines import unit
from latadj.tasks.metrics.ranking import DEPTH, TOP
from latadj.tasks.types.embedding import EmbeddingTask

# Queries whose products with all documents are made at a time.
AT_ONCE = 256


class Retrieval(EmbeddingTask):
    """Which documents a query finds: a row for each query and, after them, one for each document.

    Queries alone are scored. A prediction is the list of the documents nearest to one by cosine.
    """

    name = "retrieval"
    by_length = False

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        if train:
            raise ValueError(
                f"task={self.task.name} has queries to test with, and nothing to train or calibrate on: do that with "
                "task=embedding task.data_files=FILE, on texts such as the documents"
            )
        return load_retrieval(self.task)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        prefixes = {True: self.task.query_prefix or "", False: self.task.document_prefix or ""}
        texts = [prefixes[query] + text for query, text in zip(examples["query"], examples["text"], strict=True)]
        rows = tokenize([texts], tokenizer, limit)
        return Dataset.from_list([row | {"length": len(row["input_ids"])} for row in rows])

    def rows_at(self, examples: Dataset) -> tuple[int, float] | None:
        speedup = self.task.query_speedup
        return None if speedup is None else (_queries(examples), speedup)

    def references(self, examples: Dataset) -> list[list[int]]:
        return examples["relevant"][: _queries(examples)]

    def predictions(self, answers: np.ndarray, encoded: Dataset, examples: Dataset) -> list[list[int]]:
        count = _queries(examples)
        queries, documents, own = unit(answers[:count]), unit(answers[count:]), examples["own"][:count]
        found: list[list[int]] = []
        for start in range(0, count, AT_ONCE):
            near = -(queries[start : start + AT_ONCE] @ documents.T)
            nearest = np.argsort(near, axis=1, kind="stable")[:, : DEPTH + 1].tolist()
            # A query that is a document itself does not count as found.
            found += [
                [place for place in places if place != itself][:DEPTH]
                for places, itself in zip(nearest, own[start : start + AT_ONCE], strict=True)
            ]
        return found

    def agreement(self, predictions: list[list[int]], full: list[list[int]]) -> float:
        """Share of the full model's first ten documents that are among the first ten too."""
        pairs = [(set(ours[:TOP]), theirs[:TOP]) for ours, theirs in zip(predictions, full, strict=True)]
        return float(np.mean([len(ours.intersection(theirs)) / max(len(theirs), 1) for ours, theirs in pairs]))

    def table(self, examples: Dataset, predictions: list[list[int]], answers: Any) -> pd.DataFrame:
        """Queries with the places of the first ten documents that they find, counted from 0."""
        queries = examples["text"][: _queries(examples)]
        found = [" ".join(map(str, places[:TOP])) for places in predictions]
        return pd.DataFrame({"query": queries, "documents": found})


def _queries(examples: Dataset) -> int:
    """How many of the examples are queries, which come first."""
    return sum(examples["query"][:])
