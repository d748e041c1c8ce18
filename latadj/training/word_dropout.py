"""Word dropout: copies of training texts without some of their tokens, with the label of the whole text."""

import random
from collections.abc import Collection
from itertools import compress
from typing import Any

from datasets import Dataset, concatenate_datasets

# Of a text's tokens; special ones stay.
DROPOUT = 0.3
# Of the copies, how many have a few words only, next to each other: in the data such texts are rare.
SHORT_SHARE, FEW = 0.15, 8


def with_word_dropout(rows: Dataset, copies: int, *, special: Collection[int], seed: int) -> Dataset:
    """Encoded rows, and so many word-dropout copies of each: every copy lacks other tokens, about ``DROPOUT`` of them.

    Some copies have only 1 to ``FEW`` tokens, next to each other.

    A teacher knows its own training texts nearly by heart, so that its logits for them say little more than the
    labels do. Of texts that it never saw it is less sure, and that is what a student learns from.

    Parameters
    ----------
    rows : with ``input_ids``, other columns of one number a token, and ``length``
    special : tokens that stay
    """
    if not copies:
        return rows
    rng = random.Random(seed)
    always_kept = set(special)

    def drop_words(row: dict[str, Any]) -> dict[str, Any]:
        tokens = row["input_ids"]
        if rng.random() < SHORT_SHARE:
            start, count = rng.randrange(max(len(tokens) - FEW, 1)), rng.randint(1, FEW)
            keep = [token in always_kept or start < place <= start + count for place, token in enumerate(tokens)]
        else:
            keep = [token in always_kept or rng.random() >= DROPOUT for token in tokens]
        if not any(keep):
            return row
        columns = {
            name: list(compress(value, keep))
            for name, value in row.items()
            if isinstance(value, list) and len(value) == len(tokens)
        }
        return {**row, **columns, "length": len(columns["input_ids"])}

    # Random numbers are drawn in the order of the rows, so nothing may come from a cache or another process.
    dropped = [rows.map(drop_words, load_from_cache_file=False) for _ in range(copies)]
    return concatenate_datasets([rows, *dropped])
