"""Queries with candidates: those that begin with a good word answer the query, those with a bad one do not."""

import json
import random
from pathlib import Path
from typing import Any

from helpers import toy_project as toy


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as JSON lines."""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def rows(count: int, seed: int = 0, negatives: int = 3) -> list[dict[str, Any]]:
    """Triplets; every third query comes as scored pairs."""
    rng, found = random.Random(seed), list[dict[str, Any]]()
    for number in range(count):
        query = " ".join(rng.sample(toy.FILLER, 4))
        positive, *others = (
            " ".join([rng.choice(words), *rng.choices(toy.FILLER, k=rng.randint(4, 16))])
            for words in [toy.GOOD, *[toy.BAD] * negatives]
        )
        if number % 3:
            found.append({"query": query, "positive": positive, "negatives": others})
            continue
        pairs = [(positive, 0.75), *((text, 0) for text in others)]
        found += [{"query": query, "document": text, "score": score} for text, score in pairs]
    return found


def write_ranking(folder: Path) -> Path:
    """Files ``train.jsonl`` and ``test.jsonl``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "train.jsonl", rows(120))
    write_rows(folder / "test.jsonl", rows(40, seed=1))
    return folder
