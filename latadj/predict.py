"""Logits of a whole data set."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.tasks.encode import bucketed_batches, rows_of


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Dataset | list[dict[str, Any]],
    *,
    batch_size: int = 64,
    autocast: torch.dtype | None = None,
) -> np.ndarray:
    """Logits of every example, in the examples' order, at the model's present speedup.

    Parameters
    ----------
    encoded : what ``tasks.encode.encode`` or ``rows_of`` made
    autocast : run under autocast in this type; None runs in the model's own

    Returns
    -------
    (examples, outputs) float32
    """
    rows = encoded if isinstance(encoded, list) else rows_of(encoded)
    device = model.device
    was_training = model.training
    model.eval()
    logits = np.zeros((len(rows), model.config.num_labels), dtype=np.float32)
    with torch.inference_mode(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        for index, batch in bucketed_batches(rows, tokenizer, batch_size):
            output = model(**{name: tensor.to(device) for name, tensor in batch.items()})
            logits[index] = output.logits.float().cpu().numpy()
    model.train(was_training)
    return logits
