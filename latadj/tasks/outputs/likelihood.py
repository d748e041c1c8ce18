"""How likely a language model finds continuations of prompts that it has read, at its present speedup."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from latadj.tasks.encoding.batches import bucketed

# A row is what a generation task encodes an example to; ``input_ids`` are the prompt's.
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
        if a prompt or a continuation is empty.
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
    """What a model foresees at every token of every continuation, one example after the other.

    Only one batch is held at a time, so that the distributions of a whole data set never are. The model runs while
    the iterator is advanced: two of them, each advanced at its own speedup, give divergences.

    Yields
    ------
    place of the example in ``encoded``, and (tokens of its continuation, vocabulary) logits in the model's type;
    shortest prompts first, the same order for every model
    """
    rows = rows_to_score(encoded)
    forward = _encoder_decoder if model.config.is_encoder_decoder else _decoder
    was_training = model.training
    try:
        for index in bucketed(rows, batch_size):
            model.eval()
            logits = forward(model, [rows[place] for place in index])
            model.train(was_training)
            for place, found in zip(index, logits, strict=True):
                yield int(place), found[: len(rows[place]["continuation"])]
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
    where = {"attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if ragged else {}
    started = model(input_ids=prompts, use_cache=True, logits_to_keep=1, **where)
    if targets.shape[1] == 1:
        return started.logits[:, -1:]
    fed = targets[:, :-1]
    if ragged:
        steps = torch.arange(fed.shape[1], device=model.device)
        # Fillers of short continuations stand behind all that is scored, where no real token sees them.
        where = {"attention_mask": torch.cat([mask, torch.ones_like(fed)], 1), "position_ids": lengths + steps}
    rest = model(input_ids=fed, past_key_values=started.past_key_values, use_cache=True, **where)
    return torch.cat([started.logits[:, -1:], rest.logits], dim=1)


@torch.inference_mode()
def _encoder_decoder(model: PreTrainedModel, rows: Sequence[dict[str, Any]]) -> Tensor:
    """(examples, longest continuation, vocabulary), of the decoder that reads the continuation as its labels."""
    prompts, mask = padded([row["input_ids"] for row in rows], model.device, left=False)
    targets, _ = padded([row["continuation"] for row in rows], model.device, left=False)
    fed = model.prepare_decoder_input_ids_from_labels(labels=targets)
    return model(input_ids=prompts, attention_mask=mask, decoder_input_ids=fed, use_cache=False).logits


def padded(ids: Sequence[Sequence[int]], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, both (sequences, longest); padding is token 0 and masked."""
    lengths = np.array([len(row) for row in ids])
    places = np.arange(lengths.max())
    mask = places >= lengths.max() - lengths[:, None] if left else places < lengths[:, None]
    filled = np.zeros(mask.shape, dtype=np.int64)
    filled[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in ids])
    return torch.from_numpy(filled).to(device), torch.from_numpy(mask.astype(np.int64)).to(device)
