"""The significance of a model's heads and neurons, by gradients of a training objective's loss."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.pruning.units import Significance
from latadj.tasks.encoding.batches import Batch

# Texts of one backward pass. Opposite changes of the loss cancel within it, so it is small.
GRADIENT_BATCH = 8


def gradient_batches(
    rows: Sequence[dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], Batch],
    device: torch.device,
) -> list[tuple[int, Batch]]:
    """Batches of like length for :func:`significance_of`, with how many texts each has.

    Parameters
    ----------
    rows : encoded training text
    """
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    chunks = [ordered[start : start + GRADIENT_BATCH] for start in range(0, len(ordered), GRADIENT_BATCH)]
    return [(len(chunk), {name: tensor.to(device) for name, tensor in collate(chunk).items()}) for chunk in chunks]


def significance_of(
    model: PreTrainedModel, batches: Iterable[tuple[int, Batch]], loss: Callable[[Batch], Tensor]
) -> Significance:
    """The significance of all remaining heads and neurons of a model, without dropout.

    Parameters
    ----------
    batches : of training text, with how many texts each has
    loss : mean over a batch's texts
    """
    significance = Significance(model)
    was_training = model.training
    model.eval()
    try:
        for size, batch in batches:
            (loss(batch) * size).backward()  # type: ignore[no-untyped-call]
            significance.add(model)
            model.zero_grad(set_to_none=True)
    finally:
        model.train(was_training)
    return significance
