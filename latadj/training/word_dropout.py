"""Training texts with words left out, whose label stays and of which a teacher says how much of it is left."""

import random
from collections.abc import Collection
from typing import Any

from datasets import Dataset, concatenate_datasets

# Of a text's tokens; special ones stay.
SHARE = 0.3


def with_word_dropout(rows: Dataset, copies: int, *, special: Collection[int], seed: int) -> Dataset:
    """Encoded rows, and so many word-dropout copies of each: every copy lacks other tokens, about ``SHARE`` of them.

    A teacher knows its own training texts nearly by heart, so that its answers to them say little more than the
    labels do. To texts that it never saw it answers with doubt, and that is what a student learns from.

    Parameters
    ----------
    rows : with ``input_ids``, other columns of one number a token, and ``length``
    special : tokens that stay
    """
    if not copies:
        return rows
    chance = random.Random(seed)
    kept = set(special)

    def thin(row: dict[str, Any]) -> dict[str, Any]:
        tokens = row["input_ids"]
        stays = [token in kept or chance.random() >= SHARE for token in tokens]
        if not any(stays):
            return row
        short = {
            name: [part for part, stay in zip(value, stays, strict=True) if stay]
            for name, value in row.items()
            if isinstance(value, list) and len(value) == len(tokens)
        }
        return {**row, **short, "length": len(short["input_ids"])}

    # The order of the rows is the order of chance, so nothing may come from a cache or another process.
    thinned = [rows.map(thin, load_from_cache_file=False) for _ in range(copies)]
    return concatenate_datasets([rows, *thinned])
