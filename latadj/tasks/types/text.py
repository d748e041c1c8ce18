"""Running text: a language model predicts the continuation of each prompt."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import GENERATION
from latadj.tasks.data.documents import load_texts
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.continuation_windows import context_length, cut
from latadj.tasks.outputs.likelihood import Likelihoods
from latadj.tasks.outputs.predictions import agreement
from latadj.tasks.types.base import TaskType


class RunningText(TaskType):
    """Prompts and continuations cut from documents; a model is scored on how likely it finds the continuations.

    Examples are the encoded rows: one document gives several. Predictions are negative log-likelihoods in nats,
    references are the numbers of tokens that they sum over.
    """

    name = GENERATION
    scores_continuations = True

    @property
    def default_batch(self) -> int:
        """One: people wait for the first token of a single prompt."""
        return 1

    @property
    def width(self) -> None:
        return None

    def limit(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
        return context_length(model)

    def load(self, known: Sequence[str] | None, *, train: bool) -> Splits:
        return load_texts(self.task)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> Dataset:
        return cut(examples, tokenizer, self.task, limit)

    def references(self, examples: Dataset) -> np.ndarray:
        return np.array([len(continuation) for continuation in examples["continuation"]])

    def predictions(self, answers: Likelihoods, encoded: Dataset, examples: Dataset) -> np.ndarray:
        return answers.nll

    def agreement(self, predictions: np.ndarray, full: np.ndarray) -> float:
        """Correlation with the full model's log-likelihoods."""
        return agreement(predictions, full, regression=True)

    def table(self, examples: Dataset, predictions: np.ndarray, answers: Likelihoods | None = None) -> pd.DataFrame:
        tokens = self.references(examples)
        columns = {
            "document": examples["document"],
            "prompt_tokens": examples["length"],
            "continuation_tokens": tokens,
            "negative_log_likelihood": predictions,
            "perplexity": np.exp(predictions / tokens),
        }
        return pd.DataFrame(columns)
