"""Prompts with their continuations in one training pass, whose head computes the scored positions only."""

from typing import Any

import torch
from torch import Tensor

from latadj.tasks.encoding.batches import Batch
from latadj.tasks.outputs.likelihood import padded

# Column of a teacher's final hidden states at the scored positions.
STATES = "teacher_states"


class Continuations:
    """Collates prompts and continuations.

    A decoder reads both, prompts padded on the left and continuations on the right, so that the scored positions are
    the same columns of every row. The encoder of an encoder-decoder reads the prompts, its decoder the continuations.

    Columns of a batch: ``input_ids`` and ``attention_mask`` of what is read, ``prompt`` (batch,) tokens of each
    prompt, ``continuation`` (batch, longest) token ids, ``scored`` (batch, longest) True where there is one, and
    ``STATES`` (batch, longest, width) of the teacher where the rows have them.
    """

    def __init__(self, encoder_decoder: bool) -> None:
        self.encoder_decoder = encoder_decoder

    def __call__(self, rows: list[dict[str, Any]]) -> Batch:
        cpu = torch.device("cpu")
        read, mask = padded([row["input_ids"] for row in rows], cpu, left=not self.encoder_decoder)
        continuation, scored = padded([row["continuation"] for row in rows], cpu, left=False)
        batch = {"prompt": mask.sum(dim=1), "continuation": continuation, "scored": scored.bool()}
        if not self.encoder_decoder:
            # Nothing that is scored comes after the last token of a continuation, so it need not be read.
            read = torch.cat([read, continuation[:, :-1]], dim=1)
            mask = torch.cat([mask, scored[:, 1:]], dim=1)
        batch |= {"input_ids": read, "attention_mask": mask}
        if STATES in rows[0]:
            batch[STATES] = torch.nn.utils.rnn.pad_sequence([row[STATES] for row in rows], batch_first=True)
        return batch


def scored_logits(model: Any, batch: Batch) -> Tensor:
    """Logits of every scored position, (scored, vocabulary) in float32; the head computes no other."""
    mask, scored = batch["attention_mask"], batch["scored"]
    # Without a mask most devices have a faster kernel.
    extra = {} if bool(mask.all()) else {"attention_mask": mask}
    inner = unwrapped(model)
    if inner.config.is_encoder_decoder:
        decoder_input_ids = inner.prepare_decoder_input_ids_from_labels(labels=batch["continuation"])
        logits = model(
            input_ids=batch["input_ids"], decoder_input_ids=decoder_input_ids, use_cache=False, **extra
        ).logits
    else:
        if extra:
            extra["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        columns = scored.shape[1]
        logits = model(input_ids=batch["input_ids"], use_cache=False, logits_to_keep=columns, **extra).logits
    return logits[scored].float()


def unwrapped(model: Any) -> Any:
    """The model without the wrapper that distributed training puts around it."""
    return model.module if hasattr(model, "module") else model
