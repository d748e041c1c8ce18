"""Distillation from a language model: its final hidden states are kept, so that it is run once, not in every step."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.tasks.encoding.batches import bucketed
from latadj.training.continuations import STATES, Continuations, scored_logits


class TeacherHead:
    """A frozen copy of a model's head, which makes distributions over the vocabulary of final hidden states.

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
        log_probabilities: Tensor = self.head(states).float().log_softmax(-1)
        return log_probabilities


@torch.no_grad()
def cache_teacher_states(
    model: PreTrainedModel,
    rows: Sequence[dict[str, Any]],
    *,
    batch_size: int,
    autocast: torch.dtype | None = None,
    advance: Callable[[int], None] = lambda examples: None,
) -> tuple[TeacherHead, list[dict[str, Any]]]:
    """The head of a teacher, and rows with its final hidden states at every token of their continuations.

    Parameters
    ----------
    model : as it is now, without elimination
    rows : with ``input_ids`` (the prompt) and ``continuation``
    autocast : type in which the model runs and the states are kept; None: its own
    advance : called after every batch with its number of examples

    Returns
    -------
    the head, and copies of the rows, in their order, with the column ``STATES``: (tokens, width) on the CPU
    """
    head = model.get_output_embeddings()
    collate = Continuations(model.config.is_encoder_decoder)
    kept: dict[int, Tensor] = {}
    captured: list[Tensor] = []
    was_training = model.training
    model.eval()
    hook = head.register_forward_pre_hook(lambda module, arguments: captured.append(arguments[0]))
    try:
        for index in bucketed(rows, batch_size):
            batch = {name: tensor.to(model.device) for name, tensor in collate([rows[row] for row in index]).items()}
            with torch.autocast(model.device.type, dtype=autocast, enabled=autocast is not None):
                scored_logits(model, batch)
            states = captured.pop().to("cpu", dtype=autocast or model.dtype)
            for row, hidden, scored in zip(index, states, batch["scored"].cpu(), strict=True):
                kept[int(row)] = hidden[scored].clone()
            advance(len(index))
    finally:
        hook.remove()
        model.train(was_training)
    return TeacherHead(head, autocast), [{**row, STATES: kept[place]} for place, row in enumerate(rows)]
