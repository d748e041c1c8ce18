"""Likelihoods of continuations after their prompts under a language model, at its current speedup."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from latadj.tasks.encoding.batches import bucketed
from latadj.tasks.outputs.predict import require_numbers

# Columns of an example of a generation task; ``input_ids`` are the prompt's.
COLUMNS = ("input_ids", "continuation")


@dataclass
class Likelihoods:
    """Negative log-likelihood of each continuation, in nats, and how many tokens it sums over; both (examples,)."""

    nll: np.ndarray
    tokens: np.ndarray


def likelihoods(
    model: PreTrainedModel, encoded: Dataset | Sequence[dict[str, Any]], *, batch_size: int = 8
) -> Likelihoods:
    """Score every example's continuation after its prompt, in the examples' order.

    The prompt goes through a prefill (an encoder-decoder's through its encoder), which is where tokens are
    eliminated; the continuation follows in one forward over the cache.

    Parameters
    ----------
    encoded : columns ``input_ids`` (the prompt) and ``continuation``, token ids

    Raises
    ------
    ValueError
        if a prompt or a continuation is empty, or a logit is no number.
    """
    rows = rows_to_score(encoded)
    nll, tokens = np.zeros(len(rows)), np.array([len(row["continuation"]) for row in rows], dtype=np.int64)
    for place, logits in continuation_logits(model, rows, batch_size=batch_size):
        targets = torch.tensor(rows[place]["continuation"], device=logits.device)
        nll[place] = float(cross_entropy(logits.float(), targets, reduction="sum"))
    return Likelihoods(nll, tokens)


def continuation_logits(
    model: PreTrainedModel, encoded: Dataset | Sequence[dict[str, Any]], *, batch_size: int = 8
) -> Iterator[tuple[int, Tensor]]:
    """A model's logits at every token of every continuation, one example after the other.

    Only one batch is held at a time, so that the distributions of a whole data set never are. The model runs while
    the iterator is advanced: two of them, each advanced at its own speedup, give divergences.

    Yields
    ------
    place of the example in ``encoded``, and (tokens of its continuation, vocabulary) logits in the model's type;
    shortest prompts first, the same order for every model

    Raises
    ------
    ValueError
        if a prompt or a continuation is empty, or a logit is no number.
    """
    rows = rows_to_score(encoded)
    forward = _encoder_decoder if model.config.is_encoder_decoder else _decoder
    was_training = model.training
    try:
        for index in bucketed(rows, batch_size):
            model.eval()
            logits = forward(model, [rows[place] for place in index])
            model.train(was_training)
            for place, padded_logits in zip(index, logits, strict=True):
                own = padded_logits[: len(rows[place]["continuation"])]
                require_numbers(own)
                yield int(place), own
    finally:
        model.train(was_training)


def rows_to_score(encoded: Dataset | Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prompts and continuations as plain rows.

    Raises
    ------
    ValueError
        if one of them is empty.
    """
    rows = encoded.select_columns(list(COLUMNS)).to_list() if isinstance(encoded, Dataset) else list(encoded)
    for place, row in enumerate(rows):
        for column, name in zip(COLUMNS, ("prompt", "continuation"), strict=True):
            if not len(row[column]):
                raise ValueError(f"example {place} has an empty {name}: there is nothing to score")
    return rows


@torch.inference_mode()
def _decoder(model: PreTrainedModel, rows: Sequence[dict[str, Any]]) -> Tensor:
    """(examples, longest continuation, vocabulary); the first prediction is the prefill's last."""
    prompts, mask = padded([row["input_ids"] for row in rows], model.device, left=True)
    targets, _ = padded([row["continuation"] for row in rows], model.device, left=False)
    lengths, ragged = mask.sum(dim=1, keepdim=True), not bool(mask.all())
    # Where nothing is padded the model is left to its own positions and, on most devices, to a faster kernel.
    extra = {"attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if ragged else {}
    prefill = model(input_ids=prompts, use_cache=True, logits_to_keep=1, **extra)
    if targets.shape[1] == 1:
        return prefill.logits[:, -1:]
    inputs = targets[:, :-1]
    if ragged:
        steps = torch.arange(inputs.shape[1], device=model.device)
        # Padding of short continuations comes after all that is scored, where no real token sees it.
        extra = {"attention_mask": torch.cat([mask, torch.ones_like(inputs)], 1), "position_ids": lengths + steps}
    rest = model(input_ids=inputs, past_key_values=prefill.past_key_values, use_cache=True, **extra)
    return torch.cat([prefill.logits[:, -1:], rest.logits], dim=1)


@torch.inference_mode()
def _encoder_decoder(model: PreTrainedModel, rows: Sequence[dict[str, Any]]) -> Tensor:
    """(examples, longest continuation, vocabulary), of the decoder that reads the continuation as its labels."""
    prompts, mask = padded([row["input_ids"] for row in rows], model.device, left=False)
    targets, _ = padded([row["continuation"] for row in rows], model.device, left=False)
    shifted = model.prepare_decoder_input_ids_from_labels(labels=targets)
    return model(input_ids=prompts, attention_mask=mask, decoder_input_ids=shifted, use_cache=False).logits


def padded(ids: Sequence[Sequence[int]], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, both (sequences, longest); padding is token 0 and masked."""
    rows = [torch.tensor(row, dtype=torch.long) for row in ids]
    masks = [torch.ones_like(row) for row in rows]
    side = "left" if left else "right"
    tokens, mask = (pad_sequence(part, batch_first=True, padding_side=side) for part in (rows, masks))
    return tokens.to(device), mask.to(device)
