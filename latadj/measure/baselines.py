"""The three ways to feed a full model that a speedup may be counted from."""

from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from latadj.tasks.encode import Batch, bucketed, pad

BASELINES = ("bucketed", "batch_padded", "max_padded")


def batches_of(
    rows: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    examples: int,
    batch_size: int,
    max_length: int,
    seed: int,
) -> dict[str, list[Batch]]:
    """The same examples, drawn at random, in the batches of each baseline.

    Returns
    -------
    ``bucketed``: batches of like length; ``batch_padded``: in data order, padded to the longest of each batch;
    ``max_padded``: in data order, padded to ``max_length``
    """
    chosen = np.random.default_rng(seed).permutation(len(rows))[:examples]
    drawn = [rows[index] for index in chosen]
    in_order = [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]
    return {
        "bucketed": [pad([drawn[i] for i in index], tokenizer) for index in bucketed(drawn, batch_size)],
        "batch_padded": [pad(part, tokenizer) for part in in_order],
        "max_padded": [pad(part, tokenizer, max_length) for part in in_order],
    }
