"""Three splits of a task's examples that stay apart: tables while they are read and cut, then data sets."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from datasets import Dataset

from latadj.config import HubConfig, TaskConfig
from latadj.tasks.data.paths import DataFiles

SPLIT_SEED = 0
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}  # of a split for which a task names no share
# Of a text that is read to its end, in windows: several books. A tokenizer keeps a hundred bytes for each.
MOST_CHARACTERS = 2**22


def refuse_longer(characters: int, what: str, advice: str) -> None:
    """Refuse a text that is read to its end and has more characters than fit into memory as tokens.

    Raises
    ------
    ValueError
    """
    if characters > MOST_CHARACTERS:
        raise ValueError(f"{what} has {characters:,} characters, and {MOST_CHARACTERS:,} can be read: {advice}")


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
        """A short name for what a model learns from and is validated on: other examples there have another."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation):
            digest.update(f"{len(split)} ".encode())
            for batch in split.iter(batch_size=1000):
                digest.update(json.dumps(batch, default=str).encode())
        return digest.hexdigest()[:16]


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


@dataclass
class SplitFrames:
    """Examples of each split that the source has, as tables; several tests have names."""

    train: pd.DataFrame | None = None
    validation: pd.DataFrame | None = None
    tests: dict[str, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def read(cls, files: DataFiles, read: Callable[[Path], pd.DataFrame]) -> "SplitFrames":
        """The tables in files, those of one split one after the other."""

        def table(paths: list[Path]) -> pd.DataFrame | None:
            return pd.concat([read(path) for path in paths], ignore_index=True) if paths else None

        train, validation = table(files.train), table(files.validation)
        tests = {name: table(paths) for name, paths in files.tests.items()}
        return cls(train, validation, {name: frame for name, frame in tests.items() if frame is not None})

    @classmethod
    def of_hub(cls, source: HubConfig, frames: Mapping[str, pd.DataFrame]) -> "SplitFrames":
        """The tables of a data set on the hub, by the names of its splits."""
        validation = frames[source.validation] if source.validation else None
        return cls(frames[source.train], validation, {name: frames[name] for name in source.test or []})

    def named(self) -> dict[str, pd.DataFrame]:
        """Every table, by what it is called in a message."""
        named = {"training": self.train, "validation": self.validation, **self.tests}
        return {name: frame for name, frame in named.items() if frame is not None}

    def map(self, work: Callable[[pd.DataFrame, str], pd.DataFrame]) -> "SplitFrames":
        """All tables after ``work``, which also gets what they are called in a message."""
        return SplitFrames(
            None if self.train is None else work(self.train, "training"),
            None if self.validation is None else work(self.validation, "validation"),
            {name: work(frame, name) for name, frame in self.tests.items()},
        )

    def completed(self, task: TaskConfig, keys: Callable[[pd.DataFrame], pd.Series]) -> "SplitFrames":
        """With the missing splits, cut out of training by the hash of each row's key.

        Parameters
        ----------
        keys : makes of the training table (rows,) texts; rows of the same key stay in one split

        Raises
        ------
        ValueError
            if ``task.split`` gives one of them no share.
        """
        missing = [*(["validation"] if self.validation is None else []), *([] if self.tests else ["test"])]
        if self.train is None or not missing:
            return self
        parts = split_by_hash(self.train, keys(self.train), shares_of(task.split, ("train", *missing)))
        validation = parts["validation"] if self.validation is None else self.validation
        return SplitFrames(parts["train"], validation, self.tests or {"test": parts["test"]})

    def limited(self, task: TaskConfig) -> "SplitFrames":
        """At most ``task.max_train`` training examples, a quarter of that for validation, ``task.max_test`` a test."""
        return SplitFrames(
            None if self.train is None else take(self.train, task.max_train),
            None if self.validation is None else take(self.validation, validation_limit(task)),
            {name: take(frame, task.max_test) for name, frame in self.tests.items()},
        )

    def refuse_empty(self, task: TaskConfig, way_out: str = "") -> None:
        """Refuse splits without examples.

        Raises
        ------
        ValueError
        """
        for name, frame in self.named().items():
            if frame.empty:
                raise ValueError(f"task {task.name}: its {name} split is empty{way_out}")

    def splits(self, labels: list[str] | None) -> Splits:
        """The tables as data sets; without training, training and validation are empty."""
        empty = next(iter(self.tests.values())).iloc[:0] if self.tests else pd.DataFrame()
        train, validation = (empty if frame is None else frame for frame in (self.train, self.validation))
        tests = {name: as_dataset(frame) for name, frame in self.tests.items()}
        return Splits(as_dataset(train), as_dataset(validation), tests, labels)


def validation_limit(task: TaskConfig) -> int | None:
    """The most validation examples: a quarter of ``task.max_train``."""
    return None if task.max_train is None else max(task.max_train // 4, 1)
