"""Texts with their right answers on which many models are evaluated: encoded, sorted by length and padded once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy import optimize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.current_setting import starting_at
from latadj.elimination.patching import HiddenStateCache
from latadj.pruning.acceptance import ScoredPredictions
from latadj.tasks.encoding.batches import Batch, Collator, bucketed, position_mask
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.types import TaskType

# Loss of a row whose logits are not finite: worse than any finite loss, yet it can be added up.
BROKEN = 1e6
# Range of the logarithm of a temperature: logits are divided by at most 20, or multiplied by at most 20.
LOG_SCALE = 3.0
# Bytes of hidden states that are cached, for all rows and for the sample each.
CACHE_BYTES = 2**30


@dataclass
class _EvaluationBatch:
    """Padded rows, and where the next pass over them may start.

    index : which rows they are
    positions : the tokens that the head is read at; None: see ``Outputs``
    cache : hidden states of an earlier pass
    """

    index: np.ndarray
    batch: Batch
    positions: torch.Tensor | None
    cache: HiddenStateCache | None = None


@dataclass
class _BatchOutputs:
    """A model's logits of a batch, (rows, ...), and what they are compared with."""

    index: np.ndarray
    logits: torch.Tensor
    targets: Batch
    positions: torch.Tensor | None


class PruningEvaluator:
    """Examples of one task, on which models with elimination attached are evaluated.

    A search evaluates many models that differ in one layer and those above it. If it names that layer (``changed``),
    the hidden states that enter it are cached and no layer below it runs again, with bit-identical results. Four
    trials in each of six layers, the first of which runs whole, then took 0.69 of the time (0.57 to 0.80).

    Parameters
    ----------
    examples, encoded : as read and as encoded
    outputs : how a model's outputs are read
    autocast : type in which models run; None: their own
    sample : number of rows that ``loss`` uses, drawn by ``seed``; None: all
    tunes_threshold : whether to choose on these texts what ``task_type.tune_threshold`` chooses; else it stays as it is
    """

    def __init__(
        self,
        task_type: TaskType,
        tokenizer: PreTrainedTokenizerBase,
        examples: Dataset,
        encoded: Dataset,
        *,
        outputs: Outputs,
        device: torch.device,
        batch_size: int = 64,
        autocast: torch.dtype | None = None,
        sample: int | None = None,
        seed: int = 0,
        tunes_threshold: bool = True,
    ) -> None:
        self.task_type, self.examples, self.encoded = task_type, examples, encoded
        self.outputs, self.autocast = outputs, autocast
        self.tunes_threshold = tunes_threshold and task_type.tunes_threshold
        rows = encoded.to_list()
        self.lengths = np.array([len(row["input_ids"]) for row in rows])
        drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:sample])
        collate = Collator(tokenizer, outputs.targets)

        def batches(indices: np.ndarray) -> list[_EvaluationBatch]:
            result = []
            for bucket in bucketed([rows[index] for index in indices], batch_size):
                chosen = [rows[index] for index in indices[bucket]]
                batch = collate(chosen)
                on_device = {name: tensor.to(device) for name, tensor in batch.items()}
                result.append(_EvaluationBatch(indices[bucket], on_device, position_mask(chosen, batch)))
            return result

        self._all = batches(np.arange(len(rows)))
        self._sample = self._all if len(drawn) == len(rows) else batches(drawn)

    @property
    def references(self) -> Any:
        """The right answer for each example."""
        return self.task_type.references(self.examples)

    def evaluate(self, model: PreTrainedModel, *, changed: int | None = None) -> ScoredPredictions:
        """A model's prediction for every example, and its loss on every row at the temperature of :meth:`loss`.

        Parameters
        ----------
        model : with elimination attached
        changed : the lowest layer, counted from 0, in which the model may differ from the one evaluated before; None:
            it may differ anywhere
        """
        by_row: dict[int, Any] = {}
        losses = np.zeros(len(self.encoded))
        batches = self._run(model, self._all, changed)
        scale = self._scale(batches)
        for batch in batches:
            losses[batch.index] = self._losses(batch, scale)
            logits = self.outputs.per_example(batch.logits.cpu(), batch.positions)
            by_row.update((int(index), row.numpy()) for index, row in zip(batch.index, logits, strict=True))
        outputs = self.outputs.stack([by_row[index] for index in range(len(losses))])
        if self.tunes_threshold:
            self.task_type.tune_threshold(outputs, self.encoded, self.examples)
        return ScoredPredictions(self.task_type.predictions(outputs, self.encoded, self.examples), losses)

    def loss(self, model: PreTrainedModel, *, changed: int | None = None) -> float:
        """Mean loss on the sample, at the temperature that makes it least.

        A model that lost a unit is often less sure, or too sure, of answers that are as right as before. That is no
        damage: the next step of training repairs it. So each model gets the temperature that suits it best (Guo et al.
        2017, arXiv 1706.04599), on the same texts for all. ``changed`` is that of :meth:`evaluate`.
        """
        batches = self._run(model, self._sample, changed)
        scale = self._scale(batches)
        return float(np.concatenate([self._losses(batch, scale) for batch in batches]).mean())

    def drop_cache(self, layer: int | None = None) -> None:
        """Drop the hidden states that a layer took part in which has changed for good; None: any may have changed."""
        for batch in (*self._all, *self._sample):
            if batch.cache is not None and (layer is None or batch.cache.layer > layer):
                batch.cache = None

    def _run(
        self, model: PreTrainedModel, batches: Sequence[_EvaluationBatch], changed: int | None
    ) -> list[_BatchOutputs]:
        if changed is None:
            self.drop_cache()
        was_training = model.training
        model.eval()
        results, room = [], CACHE_BYTES
        try:
            with (
                torch.inference_mode(),
                torch.autocast(model.device.type, dtype=self.autocast, enabled=self.autocast is not None),
            ):
                for batch in batches:
                    if changed is None or room <= 0:
                        batch.cache = None
                    elif batch.cache is None or batch.cache.layer != changed:
                        batch.cache = HiddenStateCache(changed)
                    inputs, targets = self.outputs.split_targets(batch.batch)
                    # A pass without a cache may be transformers' own, which rounds otherwise in bf16: models would
                    # be compared by more than what they lack. So a cache that nobody keeps stands in for it.
                    with starting_at(model, batch.cache or HiddenStateCache(0)):
                        logits = self.outputs(model, inputs).float()
                    results.append(_BatchOutputs(batch.index, logits, targets, batch.positions))
                    if batch.cache is not None and batch.cache.hidden is not None:
                        room -= batch.cache.hidden.nbytes
        finally:
            model.train(was_training)
        return results

    def _scale(self, batches: Sequence[_BatchOutputs]) -> float:
        """The factor of all logits that makes the loss least."""
        rows = sum(len(batch.index) for batch in batches)

        def mean(log_scale: float) -> float:
            scale = math.exp(log_scale)
            losses = [
                len(batch.index) * float(self.outputs.loss(batch.logits * scale, batch.targets)) for batch in batches
            ]
            return float(np.nan_to_num(losses, posinf=BROKEN).sum()) / rows

        best = optimize.minimize_scalar(mean, bounds=(-LOG_SCALE, LOG_SCALE), method="bounded", options={"xatol": 0.01})
        return math.exp(best.x)

    def _losses(self, batch: _BatchOutputs, scale: float) -> np.ndarray:
        """The loss of each row, one by one, as each type of head has its own loss, and all of them are means."""
        logits = batch.logits * scale
        targets = [
            {name: tensor[row : row + 1] for name, tensor in batch.targets.items()} for row in range(len(logits))
        ]
        losses = [float(self.outputs.loss(logits[row : row + 1], own)) for row, own in enumerate(targets)]
        broken = (logits.isnan() | logits.isposinf()).flatten(1).any(1).cpu().numpy()
        # A row without a target has no loss, which must not help a broken model.
        return np.where(broken, BROKEN, np.nan_to_num(losses, posinf=BROKEN))
