"""Texts, or pairs of them with a number, whose embeddings are compared."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from latadj.config import TaskConfig
from latadj.config.options.task import RETRIEVAL
from latadj.elimination.sentence_transformer import prompt_of
from latadj.tasks.data.classification import load_labelled_texts
from latadj.tasks.data.documents import load_texts
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import require_room, tokenize
from latadj.tasks.metrics.cosines import cosines
from latadj.tasks.outputs.embeddings import EmbeddingOutputs
from latadj.tasks.outputs.logits import agreement
from latadj.tasks.types.base import TaskType, few_words

# What models call the prompt of a document, as `encode_document` of sentence-transformers looks for it.
DOCUMENTS = ("document", "passage", "corpus")
# Column of the full model's embeddings of texts that nobody scored.
REFERENCE = "reference"


class EmbeddingTask(TaskType):
    """A task whose answers are embeddings of single texts."""

    def __init__(self, task: TaskConfig) -> None:
        super().__init__(task)
        self.outputs = EmbeddingOutputs(task.dimensions)

    @property
    def width(self) -> int | None:
        return None

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        require_room(tokenizer, limit)


def with_prompts(task: TaskConfig, pipeline: Any) -> TaskConfig:
    """The task with what ``encode`` of a ``SentenceTransformer`` puts before texts, where it says nothing itself."""
    query, document = task.query_prefix, task.document_prefix
    names = DOCUMENTS if task.type == RETRIEVAL else ()
    return replace(
        task,
        query_prefix=prompt_of(pipeline, "query") if query is None else query,
        document_prefix=prompt_of(pipeline, *names) if document is None else document,
    )


class Embedding(EmbeddingTask):
    """An embedding for each text: a row for each text column of an example.

    The cosine of a pair is compared with its number. Texts without one are compared with the full model's embedding.
    """

    name = "embedding"

    @property
    def pairs(self) -> bool:
        """Whether an example is two texts, and how alike they are."""
        return len(self.task.text) == 2

    def check(self) -> None:
        super().check()
        expected = "spearman" if self.pairs else "fidelity"
        if self.task.metric != expected:
            raise ValueError(
                f"task.metric={self.task.metric}: of {len(self.task.text)} text column"
                f"{'s' if self.pairs else ''} expected {expected}"
            )

    @property
    def refers_to_full_model(self) -> bool:
        return not self.pairs

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        return load_labelled_texts(self.task, known, train=train) if self.pairs else load_texts(self.task)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        """Rows as in :class:`TaskType`, with the ``example`` of each: a pair's two texts follow each other."""
        columns = [examples[name][:] for name in self._columns]
        prefix = self.task.document_prefix or ""
        texts = [prefix + text for example in zip(*columns, strict=True) for text in example]
        rows = tokenize([texts], tokenizer, limit)
        for place, row in enumerate(rows):
            row |= {"example": place // len(columns), "length": len(row["input_ids"])}
        return Dataset.from_list(rows)

    @property
    def _columns(self) -> list[str]:
        # Running text is read into a column of this name.
        return list(self.task.text) if self.pairs else ["text"]

    def shortened(self, examples: Dataset) -> Dataset:
        def cut(example: dict[str, Any], place: int) -> dict[str, str]:
            return {name: few_words(str(example[name]), place) for name in self._columns}

        return examples.map(cut, with_indices=True, load_from_cache_file=False)

    def with_references(self, examples: Dataset, answers: np.ndarray) -> Dataset:
        return examples.add_column(REFERENCE, list(answers))

    def references(self, examples: Dataset) -> np.ndarray:
        return np.asarray(examples["label" if self.pairs else REFERENCE][:])

    def predictions(self, answers: np.ndarray, encoded: Dataset, examples: Dataset) -> np.ndarray:
        """(examples,) cosines of pairs, or (examples, dimensions) embeddings."""
        return cosines(answers[::2], answers[1::2]) if self.pairs else answers

    def agreement(self, predictions: np.ndarray, full: np.ndarray) -> float:
        """Correlation with the full model's cosines; of single texts the mean cosine with its embeddings."""
        if self.pairs:
            return agreement(predictions, full, regression=True)
        return self.outputs.agreement(predictions, full)

    def table(self, examples: Dataset, predictions: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
        """Pairs with their cosine, or texts with how near the full model's their embedding is."""
        frame: Any = examples.to_pandas()
        frame["cosine"] = predictions if self.pairs else cosines(predictions, self.references(examples))
        return frame.drop(columns=REFERENCE, errors="ignore")
