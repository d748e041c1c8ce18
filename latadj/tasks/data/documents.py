"""Documents of running text, in three splits without common documents."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from latadj.config import FilesConfig, TaskConfig
from latadj.tasks.data.files import hub_splits, read_file, read_hub
from latadj.tasks.data.paths import NAMES, TEXTS, DataFiles, data_files, format_of, require_folder, task_files
from latadj.tasks.data.splits import SplitFrames, Splits, as_dataset, shares_of, split_by_hash, take, validation_limit

log = logging.getLogger("latadj")
# WikiText writes its headings with one pair of equals signs for each level; an article's title has one.
HEADING = re.compile(r" = (?!= ).*(?<! =) = ?")


def load_texts(task: TaskConfig) -> Splits:
    """Documents of a generation task, from ``task.data_files``, ``task.data_dir``, a package or the hub.

    Splits that have no file of their own are cut out of the first that has one, whole documents (and whole groups,
    with ``task.group``) at a time.

    Returns
    -------
    splits of columns ``text`` and ``document``

    Raises
    ------
    ValueError
        if files or columns are missing, or a split is empty.
    """
    frames = _read(task)
    tests = pd.concat(list(frames.tests.values()), ignore_index=True) if frames.tests else None
    named = {"train": frames.train, "validation": frames.validation, "test": tests}
    parts = _fill({name: part for name, part in named.items() if part is not None}, task)
    limits = {"train": task.max_train, "validation": validation_limit(task), "test": task.max_test}
    datasets, number = {}, 0
    for name in NAMES:
        frame = take(parts[name], limits[name])
        if frame.empty:
            raise ValueError(
                f"task {task.name}: its {name} split is empty, there are too few documents to split; give each its own "
                "file with 'task.data_files={train:FILE,validation:FILE,test:FILE}'"
            )
        datasets[name] = as_dataset(frame[["text"]].assign(document=range(number, number + len(frame))))
        number += len(frame)
    return Splits(datasets["train"], datasets["validation"], {"test": datasets["test"]})


def _read(task: TaskConfig) -> SplitFrames:
    """The documents of each split that has some."""
    names = [*task.text, *([task.group] if task.group else [])]
    if task.data_files is not None:

        def read(path: Path) -> pd.DataFrame:
            file_format = format_of(path, TEXTS)
            columns = ["text"] if file_format == "text" else names
            files = FilesConfig(format=file_format, columns={column: column for column in columns})
            return _documents(read_file(path, files, task), task, lines=file_format == "text")

        return SplitFrames.read(data_files(task.data_files, TEXTS), read)
    files, source = task.files, task.hub
    if files is not None and (task.data_dir or source is None):
        lines = files.format == "text"
        return SplitFrames.read(
            _task_files(task, files), lambda path: _documents(read_file(path, files, task), task, lines=lines)
        )
    if source is not None:
        tables = read_hub(source, hub_splits(source), names)
        return SplitFrames.of_hub(
            source, {name: _documents(table, task, lines=False) for name, table in tables.items()}
        )
    raise ValueError(f"task {task.name} names no text: give a {', '.join(TEXTS)} file with task.data_files=FILE")


def _task_files(task: TaskConfig, files: FilesConfig) -> DataFiles:
    """The files of each split that are there; names may be patterns in ``task.data_dir``."""
    if files.all or not task.data_dir:
        return task_files(task, files, suffix=True)
    require_folder(task)
    folder = Path(task.data_dir)
    names = (files.train, files.validation, *files.test)
    train, validation, *tests = (sorted(folder.glob(name)) if name else [] for name in names)
    if not (train or validation or any(tests)):
        expected = ", ".join(filter(None, names))
        raise ValueError(f"task.data_dir={folder}: none of {expected} is there; task {task.name} needs one of them")
    return DataFiles(train, validation, dict(zip(files.test, tests, strict=True)))


def _documents(table: pd.DataFrame, task: TaskConfig, *, lines: bool) -> pd.DataFrame:
    """The documents in a table, one a row, none of them empty, with their group where the task has groups.

    Parameters
    ----------
    lines : whether the rows are lines of a text file
    """
    documents = pd.DataFrame({"text": table["text" if lines else task.text[0]].fillna("").astype(str)})
    if task.group:
        if task.group not in table:
            raise ValueError(
                f"task.group={task.group}: there is no such column; there are {', '.join(map(str, table))}"
            )
        documents["group"] = table[task.group].fillna("").astype(str).str.strip()
    unit = task.documents if task.documents != "auto" else "block" if lines else "row"
    if unit != "row":
        if task.group:
            raise ValueError(f"task.group={task.group}: documents are rows then, not task.documents={unit}")
        rows = documents["text"].str.rstrip("\n").tolist()
        texts = _articles(rows) if unit == "heading" else _blocks(rows, task.block_words)
        documents = pd.DataFrame({"text": texts}, dtype=str)
    documents = documents.assign(text=documents["text"].str.strip())
    return documents[documents["text"] != ""].drop_duplicates(subset="text")


def _articles(rows: Sequence[str]) -> list[str]:
    """Rows between titles, each article with its own title."""
    articles: list[list[str]] = [[]]
    for row in rows:
        if HEADING.fullmatch(row):
            articles.append([])
        articles[-1].append(row)
    return ["\n".join(article) for article in articles]


def _blocks(rows: Sequence[str], words: int) -> list[str]:
    """Neighbouring rows, as many as make a block of so many words."""
    blocks: list[str] = []
    block: list[str] = []
    count = 0
    for row in rows:
        block.append(row)
        count += len(row.split())
        if count >= words:
            blocks.append("\n".join(block))
            block, count = [], 0
    return [*blocks, "\n".join(block)]


def _fill(parts: dict[str, pd.DataFrame], task: TaskConfig) -> dict[str, pd.DataFrame]:
    """All three splits: those without documents of their own are cut out of the first that has some."""
    missing = [name for name in NAMES if name not in parts]
    if not missing:
        return parts
    source = next(name for name in NAMES if name in parts)
    shares = shares_of(task.split, [name for name in NAMES if name == source or name in missing], default={})
    whole = parts[source]
    cut = split_by_hash(whole, whole["group" if task.group else "text"], shares)
    log.info(
        "task %s: no %s text of its own, so its %d %s documents are split into %s",
        task.name,
        " or ".join(missing),
        len(whole),
        source,
        ", ".join(f"{len(part)} {name}" for name, part in cut.items()),
    )
    return {**parts, **cut}
