"""Texts with their right answers that many models are asked in turn: encoded, sorted by length and padded once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy import optimize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.batch_context import starting_at
from latadj.elimination.forward_state import HiddenStateCache
from latadj.pruning.acceptance import Answers
from latadj.tasks.encoding.batches import Batch, asked, bucketed
from latadj.tasks.encoding.collator import Collator
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.types import TaskType

# Loss of a row to which a model answers no number, or none that ends: worse than any answer, yet it can be added up.
BROKEN = 1e6
# How far answers may be stretched or shrunk: to a twentieth, or twenty times.
LOG_SCALE = 3.0
# Bytes of hidden states that are kept of all rows, and of some.
KEPT = 2**30


@dataclass
class _Asked:
    """A batch.

    index : places of its rows
    where : the positions asked about
    entry : where its next pass may start
    """

    index: np.ndarray
    batch: Batch
    where: torch.Tensor | None
    entry: HiddenStateCache | None = None


@dataclass
class _Said:
    """What a model said of a batch.

    index : places of its rows
    said : (rows, ...) as the outputs give it
    where : the positions asked about
    """

    index: np.ndarray
    said: torch.Tensor
    targets: Batch
    where: torch.Tensor | None


class PruningEvaluator:
    """Examples of one task, which models with elimination attached are asked about.

    A search asks many models that differ in one layer and those above it. Told which (``changed``), an exam keeps
    what enters that layer, and runs no layer below it again, to the same bit. Four trials in each of six layers, the
    first of which runs whole, then took 0.69 of the time (0.57 to 0.80).

    Parameters
    ----------
    examples, encoded : as read and as encoded
    outputs : how a model's answers are read
    autocast : type in which models run; None: their own
    some : rows that ``loss`` asks about, of a seeded draw; None: all
    settles : whether what ``kind.tune_threshold`` chooses is chosen on these texts; else it stays what others said
    """

    def __init__(
        self,
        kind: TaskType,
        tokenizer: PreTrainedTokenizerBase,
        examples: Dataset,
        encoded: Dataset,
        *,
        outputs: Outputs,
        device: torch.device,
        batch_size: int = 64,
        autocast: torch.dtype | None = None,
        some: int | None = None,
        seed: int = 0,
        settles: bool = True,
    ) -> None:
        self.kind, self.examples, self.encoded = kind, examples, encoded
        self.outputs, self.autocast, self.settles = outputs, autocast, settles and kind.tunes_threshold
        rows = encoded.to_list()
        self.lengths = np.array([len(row["input_ids"]) for row in rows])
        drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:some])
        collate = Collator(tokenizer, outputs)

        def batches(places: np.ndarray) -> list[_Asked]:
            found = []
            for index in bucketed([rows[place] for place in places], batch_size):
                own = places[index]
                batch = collate([rows[place] for place in own])
                where = asked([rows[place] for place in own], batch)
                found.append(_Asked(own, {name: part.to(device) for name, part in batch.items()}, where))
            return found

        self._all = batches(np.arange(len(rows)))
        self._some = self._all if len(drawn) == len(rows) else batches(drawn)

    @property
    def references(self) -> Any:
        """What is right for each example."""
        return self.kind.references(self.examples)

    def sit(self, model: PreTrainedModel, *, changed: int | None = None) -> Answers:
        """What a model says of every example, and its loss on every row at the scale of :meth:`loss`.

        Parameters
        ----------
        model : with elimination attached
        changed : the lowest layer, counted from 0, in which the model may differ from the one asked before; None: it
            may differ anywhere
        """
        answers: dict[int, Any] = {}
        losses = np.zeros(len(self.encoded))
        said = self._ask(model, self._all, changed)
        scale = self._scale(said)
        for part in said:
            losses[part.index] = self._losses(part, scale)
            found = self.outputs.per_example(part.said.cpu(), part.where)
            answers.update((int(place), answer.numpy()) for place, answer in zip(part.index, found, strict=True))
        together = self.outputs.stack([answers[place] for place in range(len(losses))])
        if self.settles:
            self.kind.tune_threshold(together, self.encoded, self.examples)
        return Answers(self.kind.predictions(together, self.encoded, self.examples), losses)

    def loss(self, model: PreTrainedModel, *, changed: int | None = None) -> float:
        """Mean loss on some of the rows, all answers multiplied by the one number that makes it least.

        A model that lost a part is often less sure, or too sure, of answers that are as right as before. That is no
        damage: the next step of training mends it. So each model is given the temperature that suits it best
        (Guo et al. 2017, arXiv 1706.04599), on the same texts for all. ``changed`` is that of :meth:`sit`.
        """
        said = self._ask(model, self._some, changed)
        scale = self._scale(said)
        return float(np.concatenate([self._losses(part, scale) for part in said]).mean())

    def forget(self, layer: int | None = None) -> None:
        """Keep nothing that a layer had a part in which has changed for good; None: anything may have."""
        for each in (*self._all, *self._some):
            if each.entry is not None and (layer is None or each.entry.layer > layer):
                each.entry = None

    def _ask(self, model: PreTrainedModel, batches: Sequence[_Asked], changed: int | None) -> list[_Said]:
        if changed is None:
            self.forget()
        was_training = model.training
        model.eval()
        found, room = [], KEPT
        try:
            with (
                torch.inference_mode(),
                torch.autocast(model.device.type, dtype=self.autocast, enabled=self.autocast is not None),
            ):
                for each in batches:
                    if changed is None or room <= 0:
                        each.entry = None
                    elif each.entry is None or each.entry.layer != changed:
                        each.entry = HiddenStateCache(changed)
                    inputs, targets = self.outputs.split_targets(each.batch)
                    # A pass without an entry may be transformers' own, which rounds otherwise in bf16: models would
                    # be compared by more than what they lack. So one that nobody keeps stands in for it.
                    with starting_at(model, each.entry or HiddenStateCache(0)):
                        said = self.outputs(model, inputs).float()
                    found.append(_Said(each.index, said, targets, each.where))
                    if each.entry is not None and each.entry.hidden is not None:
                        room -= each.entry.hidden.nbytes
        finally:
            model.train(was_training)
        return found

    def _scale(self, said: Sequence[_Said]) -> float:
        """What all answers are to be multiplied by for the least loss."""
        rows = sum(len(part.index) for part in said)

        def mean(log_scale: float) -> float:
            scale = math.exp(log_scale)
            losses = [len(part.index) * float(self.outputs.loss(part.said * scale, part.targets)) for part in said]
            return float(np.nan_to_num(losses, posinf=BROKEN).sum()) / rows

        found = optimize.minimize_scalar(
            mean, bounds=(-LOG_SCALE, LOG_SCALE), method="bounded", options={"xatol": 0.01}
        )
        return math.exp(found.x)

    def _losses(self, part: _Said, scale: float) -> np.ndarray:
        """The loss of each row, one by one, as each kind of head has its own loss, and all of them are means."""
        said = part.said * scale
        own = [float(self.outputs.loss(said[row : row + 1], _row(part.targets, row))) for row in range(len(said))]
        broken = (said.isnan() | said.isposinf()).flatten(1).any(1).cpu().numpy()
        # A row without anything to be right about has no loss, which is not to help a broken model.
        return np.where(broken, BROKEN, np.nan_to_num(own, posinf=BROKEN))


def _row(targets: Batch, row: int) -> Batch:
    return {name: part[row : row + 1] for name, part in targets.items()}
