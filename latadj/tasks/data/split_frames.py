"""Tables of the splits that a source has: read, completed by what is cut out of training, and limited in size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from latadj.config import HubConfig, TaskConfig
from latadj.tasks.data.files import DataFiles
from latadj.tasks.data.splits import Splits, as_dataset, shares_of, split_by_hash, take


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

    @property
    def missing(self) -> list[str]:
        """Names of the splits beside training that the source does not have."""
        return [*(["validation"] if self.validation is None else []), *([] if self.tests else ["test"])]

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
        missing = self.missing
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
