"""The three ways to feed a full model that a speedup may be counted from."""

from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from latadj.tasks.encoding.batches import Batch, bucketed, pad


def batches_of(
    rows: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    batches: int,
    batch_size: int,
    max_length: int,
) -> dict[str, list[Batch]]:
    """The same examples in the batches of each baseline: whole buckets, spread evenly over the lengths of all rows.

    Returns
    -------
    ``bucketed``: batches of like length; ``batch_padded``: in data order, padded to the longest of each batch;
    ``max_padded``: in data order, padded to ``max_length``
    """
    buckets = bucketed(rows, batch_size)
    spread = np.unique(((np.arange(batches) + 0.5) * len(buckets) / batches).astype(int))
    chosen = [buckets[place] for place in spread]
    ordered = np.sort(np.concatenate(chosen))
    in_order = [[rows[i] for i in ordered[start : start + batch_size]] for start in range(0, len(ordered), batch_size)]
    return {
        "bucketed": [pad([rows[i] for i in index], tokenizer) for index in chosen],
        "batch_padded": [pad(part, tokenizer) for part in in_order],
        "max_padded": [pad(part, tokenizer, max_length) for part in in_order],
    }
