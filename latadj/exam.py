"""Texts with their right answers that many models are asked in turn: encoded, sorted by length and padded once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.kinds import Kind
from latadj.outputs import Outputs
from latadj.pruning.judge import Answers
from latadj.tasks.encode import Batch, asked, bucketed
from latadj.training.collate import Collator

# Loss of a row to which a model answers what is no number: worse than any answer, yet one that can be added up.
BROKEN = 1e6


class Exam:
    """Examples of one task.

    Parameters
    ----------
    examples, encoded : as read and as encoded
    outputs : how a model's answers are read
    autocast : type in which models run; None: their own
    some : rows that ``loss`` asks about, of a seeded draw; None: all
    """

    def __init__(
        self,
        kind: Kind,
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
    ) -> None:
        self.kind, self.examples, self.encoded = kind, examples, encoded
        self.outputs, self.autocast = outputs, autocast
        rows = encoded.to_list()
        self.lengths = np.array([len(row["input_ids"]) for row in rows])
        drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:some])
        collate = Collator(tokenizer, outputs)

        def batches(places: np.ndarray) -> list[tuple[np.ndarray, Batch, torch.Tensor | None]]:
            found = []
            for index in bucketed([rows[place] for place in places], batch_size):
                own = places[index]
                batch = collate([rows[place] for place in own])
                where = asked([rows[place] for place in own], batch)
                found.append((own, {name: part.to(device) for name, part in batch.items()}, where))
            return found

        self._all = batches(np.arange(len(rows)))
        self._some = self._all if len(drawn) == len(rows) else batches(drawn)

    @property
    def references(self) -> Any:
        """What is right for each example."""
        return self.kind.references(self.examples)

    def sit(self, model: PreTrainedModel) -> Answers:
        """What a model says of every example, and its loss on every row."""
        answers: dict[int, Any] = {}
        losses = np.zeros(len(self.encoded))
        for index, said, own, where in self._run(model, self._all):
            losses[index] = own
            found = self.outputs.each(said.cpu(), where)
            answers.update((int(place), answer.numpy()) for place, answer in zip(index, found, strict=True))
        together = self.outputs.together([answers[place] for place in range(len(losses))])
        if self.kind.settles:
            self.kind.settle(together, self.encoded, self.examples)
        return Answers(self.kind.predictions(together, self.encoded, self.examples), losses)

    def loss(self, model: PreTrainedModel) -> float:
        """Mean loss on some of the rows."""
        return float(np.concatenate([own for _, _, own, _ in self._run(model, self._some)]).mean())

    def _run(
        self, model: PreTrainedModel, batches: list[tuple[np.ndarray, Batch, torch.Tensor | None]]
    ) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray, torch.Tensor | None]]:
        was_training = model.training
        model.eval()
        try:
            with (
                torch.inference_mode(),
                torch.autocast(model.device.type, dtype=self.autocast, enabled=self.autocast is not None),
            ):
                for index, batch, where in batches:
                    inputs = dict(batch)
                    targets = {name: inputs.pop(name) for name in self.outputs.targets}
                    said = self.outputs(model, inputs).float()
                    # Row by row, as each kind of head has its own loss, and all of them are means.
                    own = [
                        float(self.outputs.loss(said[row : row + 1], _row(targets, row))) for row in range(len(index))
                    ]
                    broken = said.flatten(1).isnan().any(1).cpu().numpy()
                    # A row without anything to be right about has no loss, which is not to help a broken model.
                    yield index, said, np.where(broken, BROKEN, np.nan_to_num(own)), where
        finally:
            model.train(was_training)


def _row(targets: Batch, row: int) -> Batch:
    return {name: part[row : row + 1] for name, part in targets.items()}
