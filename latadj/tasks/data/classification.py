"""Examples of a classification or a regression, in three splits without common texts."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.tasks.data.files import hub_splits, read_file, read_hub
from latadj.tasks.data.folders import FORMAT, read_folders
from latadj.tasks.data.labels import clean, found_labels, numbered, report_gaps
from latadj.tasks.data.paths import TABLES, data_files, format_of, task_files
from latadj.tasks.data.splits import SplitFrames, Splits

log = logging.getLogger("latadj")
# Names of the three splits in a column of the user's.
CALLED = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation"}
CALLED |= {"dev": "validation", "test": "test"}
SPLIT = "split_column"


def load_labelled_texts(task: TaskConfig, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
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
    frames = _read(task)
    labels = task.labels if task.labels is not None else known
    if frames.train is None and (train or labels is None or not frames.tests):
        raise ValueError(
            f"task {task.name}: it has no training examples; give some with 'task.data_files={{train:FILE,test:FILE}}'"
        )
    frames = frames.map(lambda frame, split: clean(frame, task, split))
    if labels is None and frames.train is not None:
        labels = found_labels(frames.train, task)
    names = list(labels or ())
    frames = frames.map(lambda frame, split: numbered(frame, task, names, split))
    if frames.train is None:
        frames = SplitFrames(tests=frames.tests)
        frames.refuse_empty(task, _way_out(task))
        return frames.limited(task).splits(names)
    frames = _without_duplicates(frames, task).completed(task, lambda frame: _joined_texts(frame, task))
    limited = frames.limited(task)
    assert limited.train is not None
    _check_labels(limited.train, task, names)
    limited.refuse_empty(task, _way_out(task))
    if _is_own_data(task):
        report_gaps(limited.train, frames.tests, names, task)
    return limited.splits(names)


def _is_own_data(task: TaskConfig) -> bool:
    """Whether these are data of the user's, not of a task that comes with latadj."""
    return task.data_files is not None or task.labels is None


def _way_out(task: TaskConfig) -> str:
    if task.data_files is not None:
        return "; give each its own file with 'task.data_files={train:FILE,validation:FILE,test:FILE}'"
    return "" if task.labels is not None else "; name splits with labels: task.hub.train=, .validation=, .test=[...]"


def _read(task: TaskConfig) -> SplitFrames:
    if task.data_files is not None:
        return _from_data_files(task)
    if task.data_dir and (task.files is None or task.files.format == FORMAT):
        return read_folders(task)
    if task.files is not None and (task.data_dir or task.hub is None):
        return _from_files(task, task.files)
    if task.hub is not None:
        return _from_hub(task, task.hub)
    raise ValueError(
        f"task {task.name} names no data: give a {', '.join(TABLES)} file with task.data_files=FILE, or a data set on "
        "the hub with task.hub.path=NAME"
    )


def _from_data_files(task: TaskConfig) -> SplitFrames:
    files = data_files(task.data_files, TABLES)
    columns = {**{name: name for name in task.text}, "label": task.label}
    if task.split_column:
        columns[SPLIT] = task.split_column
        if files.validation or files.tests:
            raise ValueError(f"task.split_column={task.split_column}: all of task.data_files is one table then")

    def read(path: Path) -> pd.DataFrame:
        return read_file(path, FilesConfig(format_of(path, TABLES), columns=columns), task)

    frames = SplitFrames.read(files, read)
    return frames if frames.train is None or not task.split_column else _by_column(frames.train, task)


def _by_column(frame: pd.DataFrame, task: TaskConfig) -> SplitFrames:
    called = frame[SPLIT].astype(str).str.strip()
    names = called.str.lower().map(CALLED)
    if names.isna().any():
        strange = called[names.isna()].iloc[0]
        raise ValueError(f"task.split_column={task.split_column}: {strange!r}: expected {', '.join(CALLED)}")
    parts = {name: frame[names == name].drop(columns=SPLIT) for name in names.unique()}
    return SplitFrames(parts.get("train"), parts.get("validation"), {"test": parts["test"]} if "test" in parts else {})


def _from_files(task: TaskConfig, files: FilesConfig) -> SplitFrames:
    if not files.all and not files.train:
        raise ValueError(f"task {task.name}: files.train is missing")
    return SplitFrames.read(task_files(task, files), lambda path: _labelled(path, files, task))


def _labelled(path: Path, files: FilesConfig, task: TaskConfig) -> pd.DataFrame:
    frame = read_file(path, files, task)
    frame = frame[~frame["label"].isin(files.drop_labels)]
    if files.first_class:
        numbers = pd.to_numeric(frame["label"], errors="coerce") - files.first_class
        frame = frame.assign(label=numbers.where(numbers.notna(), frame["label"]))
    return frame


def _from_hub(task: TaskConfig, source: HubConfig) -> SplitFrames:
    names = None if source.test is None else hub_splits(source)
    tables = read_hub(source, names, [*task.text, task.label], named=task.labels is None)
    frames = {name: frame.rename(columns={task.label: "label"}) for name, frame in tables.items()}
    if source.test is None:
        others = [name for name in frames if name not in (source.train, source.validation)]
        source = replace(
            source,
            test=[name for name in others if name == "test"],
            validation=source.validation or ("validation" if "validation" in others else None),
        )
    return SplitFrames.of_hub(source, frames)


def _without_duplicates(frames: SplitFrames, task: TaskConfig) -> SplitFrames:
    """Training without repeated texts, where the test is cut out of it."""
    if frames.train is None or frames.tests:
        return frames
    train = frames.train.drop_duplicates(subset=task.text)
    if len(train) < len(frames.train) and _is_own_data(task):
        repeated = len(frames.train) - len(train)
        log.warning("%s: left out %d texts that stand there already", task.name, repeated)
    return replace(frames, train=train)


def _joined_texts(frame: pd.DataFrame, task: TaskConfig) -> pd.Series:
    rows = frame[task.text].itertuples(index=False, name=None)
    return pd.Series(["\t".join(row) for row in rows], index=frame.index, dtype=str)


def _check_labels(train: pd.DataFrame, task: TaskConfig, names: Sequence[str]) -> None:
    if train.empty:
        raise ValueError(f"task {task.name}: its training split is empty")
    if train["label"].nunique() < 2:
        only = train["label"].iloc[0]
        raise ValueError(
            f"task {task.name}: all {len(train)} training examples have the label {names[only] if names else only!s}; "
            "there is nothing to learn"
        )
