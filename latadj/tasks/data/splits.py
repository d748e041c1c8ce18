"""Three splits of a task's examples that stay apart."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from datasets import Dataset

SPLIT_SEED = 0
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}  # of a split for which a task names no share


@dataclass
class Splits:
    """Examples of a task.

    Columns of a classification: ``task.text`` and ``label`` (class number, or a float for a regression). Of a
    generation: ``text`` and ``document`` (a number that no two documents share, whatever their split). Of a token
    classification: ``tokens`` and ``tags``, lists of strings.

    tests : by name; the first one is the headline. Only ``eval`` and ``sweep`` look at them.
    labels : names of the classes by their numbers, none of a regression; None: those that the task names
    """

    train: Dataset
    validation: Dataset
    tests: dict[str, Dataset]
    labels: list[str] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """A short name for what a model learns and is judged by: other training or validation examples have another."""
        found = hashlib.sha256()
        for split in (self.train, self.validation):
            found.update(f"{len(split)} ".encode())
            for batch in split.iter(batch_size=1000):
                found.update(json.dumps(batch, default=str).encode())
        return found.hexdigest()[:16]


def shares_of(
    split: Mapping[str, float], names: Iterable[str], default: Mapping[str, float] = SHARES
) -> dict[str, float]:
    """Shares of the parts that are to be cut out of a split, as ``task.split`` or else ``default`` has them.

    Raises
    ------
    ValueError
        if one is not above 0.
    """
    shares = {name: split.get(name, default.get(name, 0.0)) for name in names}
    if min(shares.values()) <= 0:
        raise ValueError(f"task.split={split}: expected a share above 0 for each of {', '.join(shares)}")
    return shares


def split_by_hash(frame: pd.DataFrame, keys: pd.Series, shares: dict[str, float]) -> dict[str, pd.DataFrame]:
    """Parts by a seeded hash of each row's key, so that equal keys never stand in two of them.

    Parameters
    ----------
    keys : (rows,) texts
    shares : name of a part -> its share, in any unit
    """
    place = keys.map(_hash) if len(frame) else pd.Series(dtype=float)
    total = sum(shares.values())
    parts, low = {}, 0.0
    for name, share in shares.items():
        high = low + share / total
        parts[name] = frame[(place >= low) & (place < high)]
        low = high
    return parts


def _hash(key: str) -> float:
    """A number in [0, 1) that depends on the key and the split seed alone."""
    digest = hashlib.sha256(f"{SPLIT_SEED}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def take(frame: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """At most so many rows of a frame, the first of a seeded shuffle; all where ``most`` is None."""
    return frame if most is None or len(frame) <= most else frame.sample(most, random_state=SPLIT_SEED)


def as_dataset(frame: pd.DataFrame) -> Dataset:
    """The frame's rows, without its index."""
    return Dataset.from_pandas(frame.reset_index(drop=True), preserve_index=False)
