"""A question answering task's questions in three splits that stay apart."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from latadj.config import TaskConfig
from latadj.tasks.data.files import DataFiles, data_files
from latadj.tasks.data.sources import place, read_hub, require_folder
from latadj.tasks.data.splits import Splits, as_dataset, shares_of, split_by_hash, take
from latadj.tasks.data.squad_files import COLUMNS, SUFFIXES, from_hub, read_questions, refuse_twice

log = logging.getLogger("latadj")
# Of a split that has no file of its own, where a task names no share.
# Articles from which on a split by article is even enough; of fewer, contexts are split.
MANY = 20


def load_questions(task: TaskConfig, *, no_answer: bool, train: bool = True, validation: bool = True) -> Splits:
    """Questions of a task, from ``task.data_files``, ``task.data_dir`` or the hub.

    What has no file of its own is cut out of training, whole articles (or, of a few articles, whole contexts) at a
    time, so that no split knows another's contexts.

    Parameters
    ----------
    no_answer : whether a question may have none
    train, validation : whether questions of these splits are needed; else a file of tests is enough

    Returns
    -------
    splits of the columns ``read.COLUMNS``

    Raises
    ------
    ValueError
        if files are missing or damaged, an id stands in them twice, or a split is empty.
    """
    found = _tables(task, no_answer)
    refuse_twice(found.all())
    tests = found.tests
    if found.train is None:
        if train:
            raise ValueError(
                f"task {task.name}: it has no training questions; give some with "
                "'task.data_files={train:FILE,test:FILE}'"
            )
        if validation and found.validation is None:
            raise ValueError(
                f"task {task.name}: it has no validation questions to find a threshold of no answer on: give some with "
                "'task.data_files={validation:FILE,test:FILE}', or task.null_threshold=NUMBER"
            )
        parts = {"train": pd.DataFrame(columns=list(COLUMNS)), "validation": pd.DataFrame(columns=list(COLUMNS))}
    else:
        missing = [*(["validation"] if found.validation is None else []), *([] if tests else ["test"])]
        parts = _cut(found.train, missing, task)
        parts["train"] = take(_learnable(parts["train"], task), task.max_train)
    if found.validation is not None:
        parts["validation"] = found.validation
    parts["validation"] = take(parts["validation"], None if task.max_train is None else max(task.max_train // 4, 1))
    tests = {name: take(frame, task.max_test) for name, frame in (tests or {"test": parts["test"]}).items()}
    needed = tests if found.train is None else {"training": parts["train"], "validation": parts["validation"], **tests}
    for name, frame in needed.items():
        if frame.empty:
            raise ValueError(f"task {task.name}: its {name} split is empty")
    held = {name: as_dataset(frame) for name, frame in tests.items()}
    return Splits(as_dataset(parts["train"]), as_dataset(parts["validation"]), held, [])


@dataclass
class Tables:
    """Questions of each split that the source has."""

    train: pd.DataFrame | None = None
    validation: pd.DataFrame | None = None
    tests: dict[str, pd.DataFrame] = field(default_factory=dict)

    def all(self) -> dict[str, pd.DataFrame]:
        """Every table, by what it is called in a message."""
        named = {"training": self.train, "validation": self.validation, **self.tests}
        return {name: frame for name, frame in named.items() if frame is not None}


def _tables(task: TaskConfig, no_answer: bool) -> Tables:
    if task.data_files is not None:
        return _read(data_files(task.data_files, SUFFIXES), no_answer)
    if task.files is not None and (task.data_dir or task.hub is None):
        require_folder(task)
        files = task.files

        def places(name: str | None) -> list[Path]:
            return [place(name, task)] if name else []

        tests = {Path(name).stem: places(name) for name in files.test}
        return _read(DataFiles(places(files.train or files.all), places(files.validation), tests), no_answer)
    if task.hub is not None:
        source = task.hub
        named_tests = source.test or []
        splits = [source.train, *([source.validation] if source.validation else []), *named_tests]
        frames = read_hub(source, splits, ["id", "context", "question", "answers"], optional=["title"])
        named = {
            split: from_hub(frame, f"data set {source.path!r}, {split}", no_answer=no_answer)
            for split, frame in frames.items()
        }
        validation = named[source.validation] if source.validation else None
        return Tables(named[source.train], validation, {split: named[split] for split in named_tests})
    raise ValueError(
        f"task {task.name} names no questions: give a file ({', '.join(SUFFIXES)}) with task.data_files=FILE, or a "
        "folder of the official files with task.data_dir=FOLDER"
    )


def _read(files: DataFiles, no_answer: bool) -> Tables:
    def table(paths: list[Path]) -> pd.DataFrame | None:
        read = [read_questions(path, no_answer=no_answer) for path in paths]
        return pd.concat(read, ignore_index=True) if read else None

    tests = {name: table(paths) for name, paths in files.tests.items()}
    found = {name: frame for name, frame in tests.items() if frame is not None}
    return Tables(table(files.train), table(files.validation), found)


def _cut(train: pd.DataFrame, missing: list[str], task: TaskConfig) -> dict[str, pd.DataFrame]:
    """Training, and the splits that are missing, cut out of it."""
    if not missing:
        return {"train": train}
    shares = shares_of(task.split, ("train", *missing))
    return split_by_hash(train, train["title" if train["title"].nunique() >= MANY else "context"], shares)


def _learnable(train: pd.DataFrame, task: TaskConfig) -> pd.DataFrame:
    """Without the questions whose answers stand nowhere in their contexts: they do not teach that there is none."""
    lost = train["starts"].map(lambda starts: len(starts) > 0 and max(starts) < 0)
    if lost.any():
        log.warning("%s: left out %d training questions, whose answer is not in the context", task.name, lost.sum())
    return train[~lost]
