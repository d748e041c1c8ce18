"""Tagged sentences from CoNLL files, tables or the hub, in three splits without common sentences."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latadj.config import FilesConfig, TaskConfig
from latadj.config.options.task import OUTSIDE
from latadj.tasks.data.files import hub_splits, read_file, read_hub, require_columns
from latadj.tasks.data.paths import CONLL, TAGGED, data_files, format_of, task_files
from latadj.tasks.data.splits import SplitFrames, Splits, refuse_longer

log = logging.getLogger("latadj")
# What data sets call their tags beside the column that the task names.
TAGS = ("tags", "ner_tags")
DOCUMENT = "-DOCSTART-"


def load_tagged(task: TaskConfig, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
    """Tagged sentences of a task, from ``task.data_files``, ``task.data_dir``, or the hub.

    Parameters
    ----------
    known : the tags that a checkpoint was made for; they count where the task leaves its labels to the data
    train : whether training sentences are needed; else a file of tests is enough

    Returns
    -------
    splits of the columns ``tokens`` and ``tags``, both lists of strings; their labels: ``O`` first, then type by type

    Raises
    ------
    ValueError
        if files or columns are missing, a split is empty, words and tags do not match, or a tag is unknown.
    """
    frames = _read(task)
    if frames.train is None and (train or not frames.tests or (known is None and task.labels is None)):
        what = "training sentences" if frames.tests else "sentences to train on or to test"
        raise ValueError(
            f"task {task.name}: it has no {what}; give some with 'task.data_files={{train:FILE,test:FILE}}'"
        )
    if frames.train is None:
        frames = SplitFrames(tests=frames.tests)
    frames = frames.completed(task, lambda frame: frame["tokens"].map(" ".join)).limited(task)
    named = list(task.labels or known or found_labels([] if frames.train is None else frames.train["tags"]))
    # The order is that of the checkpoint's outputs, whatever that of the task is.
    labels = list(known) if known and set(known) == set(named) else named
    for name, frame in frames.named().items():
        _check(frame, name, labels, task)
    return frames.splits(labels)


def found_labels(sentences: Iterable[Sequence[str]]) -> list[str]:
    """The tags of sentences: ``O`` first, then by type, and each type's by their prefix."""
    names = {tag for tags in sentences for tag in tags}
    return sorted(names, key=lambda name: (name != OUTSIDE, name.partition("-")[2], name))


def read_conll(path: Path, columns: dict[str, Any]) -> pd.DataFrame:
    """Sentences of a file with one word a line, its columns parted by spaces or tabs, and a blank line between two.

    Parameters
    ----------
    columns : ``tokens`` and ``tags`` -> number of the column; the first and the last when left out

    Raises
    ------
    ValueError
        if the file is missing or no text, or a line lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: this is no UTF-8 text ({error.reason} at byte {error.start})") from error
    word, tag = int(columns.get("tokens", 0)), int(columns.get("tags", -1))
    least = max(word + 1, tag + 1, -tag, 2)
    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(DOCUMENT):
            tokens.append([])
            tags.append([])
            continue
        parts = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
        if len(parts) < least or not parts[tag]:
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r}: expected a word and its tag, in {least} columns or more"
            )
        tokens[-1].append(parts[word])
        tags[-1].append(parts[tag])
    _refuse_longer(tokens, str(path))
    return pd.DataFrame({"tokens": [part for part in tokens if part], "tags": [part for part in tags if part]})


def _refuse_longer(sentences: Iterable[Sequence[str]], where: str) -> None:
    for number, words in enumerate(sentences, start=1):
        length = sum(map(len, words)) + len(words)
        refuse_longer(
            length, f"{where}: sentence {number}", "put an empty line, or a row of its own, after each sentence"
        )


def _read(task: TaskConfig) -> SplitFrames:
    if task.data_files is not None:
        columns = task.files.columns if task.files is not None and task.files.format == CONLL else {}

        def read(path: Path) -> pd.DataFrame:
            return _read_file(path, FilesConfig(format_of(path, TAGGED), columns=columns), task)

        return SplitFrames.read(data_files(task.data_files, TAGGED), read)
    files, source = task.files, task.hub
    if files is not None and (task.data_dir or source is None) and (files.all or files.train):
        return SplitFrames.read(task_files(task, files, suffix=True), lambda path: _read_file(path, files, task))
    if source is not None:
        tables = read_hub(source, hub_splits(source), [task.text[0], task.label])
        frames = {name: _lists(table, task, f"data set {source.path!r}") for name, table in tables.items()}
        return SplitFrames.of_hub(source, frames)
    raise ValueError(
        f"task {task.name} names no data: give a file ({', '.join(TAGGED)}) with task.data_files=FILE, or a data set "
        "on the hub with task.hub.path=NAME"
    )


def _read_file(path: Path, files: FilesConfig, task: TaskConfig) -> pd.DataFrame:
    if files.format == CONLL:
        return read_conll(path, files.columns)
    return _lists(read_file(path, FilesConfig(files.format), task), task, str(path))


def _lists(frame: pd.DataFrame, task: TaskConfig, where: str) -> pd.DataFrame:
    """A table's lists of words and of tags, as strings."""
    words = task.text[0]
    tag = next((name for name in (task.label, *TAGS) if name in frame), task.label)
    for name in (words, tag):
        require_columns(frame, [name], where, ": name them with task.text=[TOKENS] and task.label=TAGS")
        if not frame[name].map(lambda cell: isinstance(cell, list | tuple | np.ndarray)).all():
            raise ValueError(f"{where}: column {name!r}: expected a list in each cell, a string for each word")
    tokens = [[str(word) for word in cell] for cell in frame[words]]
    names = frame.attrs.get("names", {}).get(tag) or task.labels
    tags = [[_named(value, names, where) for value in cell] for cell in frame[tag]]
    for number, (one, other) in enumerate(zip(tokens, tags, strict=True), start=1):
        if len(one) != len(other):
            raise ValueError(f"{where}: sentence {number} has {len(one)} words and {len(other)} tags")
    _refuse_longer(tokens, where)
    there = [place for place, sentence in enumerate(tokens) if sentence]
    return pd.DataFrame({"tokens": [tokens[place] for place in there], "tags": [tags[place] for place in there]})


def _named(value: Any, names: Sequence[str] | None, where: str) -> str:
    if isinstance(value, str):
        return value.strip()
    if names is None or not 0 <= int(value) < len(names):
        raise ValueError(f"{where}: the tag {value} is a number: name the tags in their order with task.labels=[...]")
    return names[int(value)]


def _check(frame: pd.DataFrame, split: str, labels: Sequence[str], task: TaskConfig) -> None:
    if frame.empty:
        raise ValueError(f"task {task.name}: its {split} split is empty")
    strange = sorted({tag for tags in frame["tags"] for tag in tags} - set(labels))
    if strange and split == "training":
        raise ValueError(
            f"task {task.name}: tag {strange[0]!r} in its training sentences: expected {', '.join(labels)}"
        )
    if strange:
        log.warning("%s: tags that training never had in %s: %s", task.name, split, ", ".join(strange))
    if split == "training" and len(labels) < 2:
        raise ValueError(f"task {task.name}: all words of its training sentences have the tag {labels[0]!r}")
