"""The training examples that a calibration runs: texts to classify, or prompts to continue."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.tasks.encoding.batches import bucketed, pad, protected_counts
from latadj.tasks.outputs.likelihood import continuation_logits, rows_to_score
from latadj.tasks.outputs.logits import Outputs, divergences
from latadj.tasks.outputs.predict import HEAD, as_tensors, predict

Examples = TypeVar("Examples", bound="CalibrationSet")


@dataclass(kw_only=True)
class CalibrationSet(ABC):
    """Examples of one kind, and how two models' outputs on them are compared.

    rows : encoded examples
    autocast : type in which the model runs; None: its own
    lengths : (examples,) real tokens of what is eliminated in
    protected : mean number of tokens of an example that its task never eliminates
    """

    rows: list[dict[str, Any]]
    batch_size: int
    autocast: torch.dtype | None = None
    lengths: np.ndarray = field(init=False)
    protected: int = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = np.array([len(row["input_ids"]) for row in self.rows])
        self.protected = round(float(np.mean(protected_counts(self.rows)))) if self.rows else 0

    @abstractmethod
    def outputs(self, model: PreTrainedModel) -> Any:
        """Outputs of a model on all examples, at its present speedup."""

    @abstractmethod
    def divergence(self, full: Any, cut: Any) -> float:
        """How far a cut model's outputs are from the full model's; 0 where they are the same."""

    @abstractmethod
    def agreement(self, outputs: Any, full: Any) -> float:
        """Share of the full model's decisions that another model makes as well."""

    def passes(self, model: PreTrainedModel, batch_size: int, most: int) -> list[Callable[[], object]]:
        """At most so many passes over batches of like length, for a clock."""
        buckets = bucketed(self.rows, batch_size)
        spread = np.unique(np.linspace(0, len(buckets) - 1, most).astype(int))
        return [self._pass(model, [self.rows[row] for row in buckets[place]]) for place in spread]

    @abstractmethod
    def _pass(self, model: PreTrainedModel, rows: list[dict[str, Any]]) -> Callable[[], object]:
        """A pass over one batch."""

    def first(self: Examples, most: int) -> Examples:
        """The first so many examples."""
        return replace(self, rows=self.rows[:most])

    def longer_than(self: Examples, tokens: float) -> Examples:
        """The examples of more tokens."""
        return replace(self, rows=[row for row in self.rows if len(row["input_ids"]) > tokens])


@dataclass(kw_only=True)
class ClassificationSet(CalibrationSet):
    """Texts, or tokens of them, that a head or the label words of a prompt classify (or give a number).

    reader : how the outputs of a batch are read
    """

    tokenizer: PreTrainedTokenizerBase
    reader: Outputs = HEAD

    def outputs(self, model: PreTrainedModel) -> Any:
        """What `latadj.tasks.outputs.predict.predict` gives."""
        return predict(
            model,
            self.tokenizer,
            self.rows,
            outputs=self.reader,
            batch_size=self.batch_size,
            autocast=self.autocast,
        )

    def divergence(self, full: Any, cut: Any) -> float:
        """Mean Kullback-Leibler divergence in nats for classes, mean squared error for a regression."""
        return float(self.reader.divergence(as_tensors(cut), as_tensors(full)))

    def agreement(self, outputs: Any, full: Any) -> float:
        return self.reader.agreement(outputs, full)

    def _pass(self, model: PreTrainedModel, rows: list[dict[str, Any]]) -> Callable[[], object]:
        batch = pad(rows, self.tokenizer)
        return lambda: self.reader(model, {name: part.to(model.device) for name, part in batch.items()}).cpu()


class ContinuationSet(CalibrationSet):
    """Prompts (``input_ids``) whose continuations (``continuation``) a language model predicts more or less well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rows_to_score(self.rows)

    def outputs(self, model: PreTrainedModel) -> list[Tensor]:
        """For each example the (tokens, vocabulary) log-probabilities of its continuation, in half precision."""
        log_probs: dict[int, Tensor] = {}
        with torch.autocast(model.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            for place, logits in continuation_logits(model, self.rows, batch_size=self.batch_size):
                log_probs[place] = logits.float().log_softmax(-1).half().cpu()
        return [log_probs[place] for place in range(len(self.rows))]

    def divergence(self, full: list[Tensor], cut: list[Tensor]) -> float:
        """Mean Kullback-Leibler divergence over all tokens, in nats."""
        return float(torch.cat([divergences(*pair) for pair in zip(full, cut, strict=True)]).mean())

    def agreement(self, outputs: list[Tensor], full: list[Tensor]) -> float:
        same = [one.argmax(-1) == other.argmax(-1) for one, other in zip(outputs, full, strict=True)]
        return float(torch.cat(same).float().mean())

    def _pass(self, model: PreTrainedModel, rows: list[dict[str, Any]]) -> Callable[[], object]:
        return lambda: list(continuation_logits(model, rows, batch_size=len(rows)))
