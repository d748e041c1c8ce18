"""Outputs of a whole data set."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.tasks.encoding.batches import bucketed, pad, position_mask, rows_of
from latadj.tasks.outputs.logits import Outputs
from latadj.utils.memory import trim_now_and_then

if TYPE_CHECKING:
    from datasets import Dataset

HEAD = Outputs()
Around = Callable[[Sequence[int]], AbstractContextManager[Any]]
Divide = Callable[[Sequence[int]], Iterable[np.ndarray]]


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: "Dataset | list[dict[str, Any]]",
    *,
    outputs: Outputs = HEAD,
    batch_size: int = 64,
    autocast: torch.dtype | None = None,
    around: Around = nullcontext,
    divide: Divide | None = None,
) -> Any:
    """Outputs of every example, in the examples' order, at the model's present speedup.

    Parameters
    ----------
    encoded : what ``TaskType.encode``, ``Prompts.encode`` or ``rows_of`` made
    outputs : how an answer is read; the logits of the model's head when left out
    autocast : run under autocast in this type; None runs in the model's own
    around : makes of the lengths of each batch's examples the context that it runs in
    divide : makes of all lengths the batches, each when it is asked for; None: ``batch_size`` of like length

    Returns
    -------
    (examples, outputs) float32; for a head that reads every token a list, for each row (positions, outputs)

    Raises
    ------
    ValueError
        if an output is no number.
    """
    rows = encoded if isinstance(encoded, list) else rows_of(encoded)
    device = model.device
    was_training = model.training
    model.eval()

    def run(rows: list[dict[str, Any]]) -> Any:
        answers: dict[int, np.ndarray] = {}
        lengths = [len(row["input_ids"]) for row in rows]
        for index in bucketed(rows, batch_size) if divide is None else divide(lengths):
            batch = pad([rows[place] for place in index], tokenizer)
            on_device = {name: tensor.to(device) for name, tensor in batch.items()}
            with around([lengths[place] for place in index]):
                logits = outputs(model, on_device).float().cpu()
            require_numbers(logits)
            own = outputs.per_example(logits, position_mask([rows[place] for place in index], batch))
            answers.update((place, answer.numpy()) for place, answer in zip(index, own, strict=True))
            trim_now_and_then()
        return outputs.stack([answers[place] for place in range(len(rows))])

    with torch.inference_mode(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        answers = run(rows)
        if outputs.prior:
            # Taken at the present speedup: elimination moves this bias too.
            answers -= run(list(outputs.prior)).mean(axis=0)
    model.train(was_training)
    return answers


def require_numbers(outputs: torch.Tensor) -> None:
    """Refuse outputs that are NaN or infinite: an answer made of them would look like any other.

    Minus infinity is a score, of what can not be.

    Raises
    ------
    ValueError
    """
    if not bool((outputs < torch.inf).all()):
        raise ValueError(
            "the model answers NaN or infinity: its weights are damaged, or too large for its precision; try "
            "device.precision=fp32"
        )


def as_tensors(answers: Any) -> Any:
    """What :func:`predict` gave, as tensors."""
    if isinstance(answers, list):
        return [torch.from_numpy(answer) for answer in answers]
    return torch.from_numpy(answers)
