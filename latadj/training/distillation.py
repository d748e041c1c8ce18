"""A language model that never changes, remembered by its final states instead of run in every step."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.tasks.encoding.batches import bucketed
from latadj.training.continuations import STATES, Continuations, foreseen


class Teacher:
    """A frozen copy of a model's head: it makes distributions over the vocabulary of final states, which are small.

    Parameters
    ----------
    head : the output embeddings, copied since training changes the original
    dtype : type in which the copy runs; None: the head's own
    """

    def __init__(self, head: nn.Module, dtype: torch.dtype | None = None) -> None:
        self.head = copy.deepcopy(head).requires_grad_(False).to(dtype)

    @torch.no_grad()
    def distributions(self, states: Tensor) -> Tensor:
        """Log-probabilities: (positions, width) final states to (positions, vocabulary) in float32."""
        found: Tensor = self.head(states).float().log_softmax(-1)
        return found


@torch.no_grad()
def taught(
    model: PreTrainedModel,
    rows: Sequence[dict[str, Any]],
    *,
    batch_size: int,
    autocast: torch.dtype | None = None,
    advance: Callable[[int], None] = lambda examples: None,
) -> tuple[Teacher, list[dict[str, Any]]]:
    """A model as a teacher, and rows with the final states that it has at every token of their continuations.

    Parameters
    ----------
    model : as it is now, without elimination
    rows : with ``input_ids`` (the prompt) and ``continuation``
    autocast : type in which the model runs and the states are kept; None: its own
    advance : called after every batch with its number of examples

    Returns
    -------
    the teacher, and copies of the rows, in their order, with the column ``STATES``: (tokens, width) on the CPU
    """
    head = model.get_output_embeddings()
    collate = Continuations(model.config.is_encoder_decoder)
    found: dict[int, Tensor] = {}
    heard: list[Tensor] = []
    was_training = model.training
    model.eval()
    hook = head.register_forward_pre_hook(lambda module, arguments: heard.append(arguments[0]))
    try:
        for index in bucketed(rows, batch_size):
            batch = {name: part.to(model.device) for name, part in collate([rows[place] for place in index]).items()}
            with torch.autocast(model.device.type, dtype=autocast, enabled=autocast is not None):
                foreseen(model, batch)
            states = heard.pop().to("cpu", dtype=autocast or model.dtype)
            for place, own, scored in zip(index, states, batch["scored"].cpu(), strict=True):
                found[int(place)] = own[scored].clone()
            advance(len(index))
    finally:
        hook.remove()
        model.train(was_training)
    return Teacher(head, autocast), [{**row, STATES: found[place]} for place, row in enumerate(rows)]
