"""How a head that says where an answer starts and ends is read, compared and trained."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.elimination.attach import is_attached, protecting
from latadj.tasks.encoding.batches import PROTECTED, Batch
from latadj.tasks.outputs.logits import IGNORED, Positions, divergences

# What a token is to the answer that is learnt, in the column ``labels``: one of many, its first, its last, or both.
CANDIDATE, START, END = 0, 1, 2


class Spans(Positions):
    """The logits of a question answering head, at the tokens of the context and at that which means "no answer".

    Answers are a list, for each row of (positions, 2): start and end. Softmax is over these positions alone: neither
    the question nor padding is ever an answer. Tokens that a batch marks as protected are not eliminated.
    """

    own_loss = False

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """(batch, length, 2) of one forward pass."""
        inputs = dict(batch)
        marks = inputs.pop(PROTECTED, None)
        inner = getattr(model, "module", model)
        with protecting(inner, marks) if marks is not None and is_attached(inner) else nullcontext():
            found = model(**inputs)
        return torch.stack([found.start_logits, found.end_logits], dim=-1)

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        """Mean cross-entropy of start and end; (batch, length) ``labels``, ``IGNORED`` where no answer can be."""
        labels = targets["labels"]
        candidate = labels != IGNORED
        logits = outputs.masked_fill(~candidate[..., None], -torch.inf)
        losses = [
            functional.cross_entropy(logits[..., side], (candidate & (labels & bit > 0)).int().argmax(dim=1))
            for side, bit in enumerate((START, END))
        ]
        return torch.stack(losses).mean()

    def divergence(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Mean Kullback-Leibler divergence of the distributions of start and end."""
        rows = [divergences(theirs.T, ours.T).mean() for ours, theirs in zip(found, wanted, strict=True)]
        return torch.stack(rows).mean()

    def agreement(self, ours: Sequence[np.ndarray], full: Sequence[np.ndarray]) -> float:
        """Share of the rows that start and end at the same tokens."""
        same = [(one.argmax(axis=0) == other.argmax(axis=0)).all() for one, other in zip(ours, full, strict=True)]
        return float(np.mean(same))
