"""Collates rows of a training set: padded inputs, targets of the loss, and a teacher's logits."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from latadj.tasks.encoding.batches import pad, position_mask
from latadj.tasks.outputs.logits import IGNORED, Outputs

# Columns of a teacher's logits, and in a batch of the tokens that they are of.
TEACHER, POSITION_MASK = "teacher_logits", "position_mask"


class Collator:
    """Pads a batch to its longest sequence; columns that neither the model nor the loss reads are left out.

    A target is a number for each row, or a list with one for each token, which is padded with ``IGNORED``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, outputs: Outputs) -> None:
        self.tokenizer, self.targets = tokenizer, outputs.targets

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = pad(rows, self.tokenizer)
        real = batch["attention_mask"].bool()
        for name in self.targets:
            batch[name] = _target([row[name] for row in rows], real)
        if TEACHER in rows[0]:
            positions = position_mask(rows, batch)
            if positions is None:
                batch[TEACHER] = torch.tensor([row[TEACHER] for row in rows])
            else:
                batch[POSITION_MASK] = positions
                batch[TEACHER] = [torch.tensor(row[TEACHER]) for row in rows]
        return batch


def _target(values: list[Any], real: Tensor) -> Tensor:
    if not isinstance(values[0], list):
        return torch.tensor(values)
    padded = torch.full(real.shape, IGNORED)
    padded[real] = torch.tensor([value for row in values for value in row])
    return padded
