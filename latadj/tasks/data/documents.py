"""Documents of running text, in three splits without common documents."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from latadj.config import FilesConfig, TaskConfig
from latadj.tasks.data.files import NAMES, TEXTS, data_files, format_of
from latadj.tasks.data.sources import hub_splits, place, read_file, read_hub, require_folder
from latadj.tasks.data.split_frames import validation_limit
from latadj.tasks.data.splits import Splits, as_dataset, shares_of, split_by_hash, take

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
    parts = {
        name: pd.concat([_documents(table, task, lines) for table, lines in tables], ignore_index=True)
        for name, tables in _tables(task).items()
    }
    parts = _fill(parts, task)
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


def _tables(task: TaskConfig) -> dict[str, list[tuple[pd.DataFrame, bool]]]:
    """Tables of each split that has some, each with whether its rows are lines of a text file."""
    columns = {column: column for column in _columns(task)}
    if task.data_files is not None:
        tables: dict[str, list[tuple[pd.DataFrame, bool]]] = {}
        by_split = data_files(task.data_files, TEXTS)
        tests = [path for paths in by_split.tests.values() for path in paths]
        for name, paths in {"train": by_split.train, "validation": by_split.validation, "test": tests}.items():
            for path in paths:
                kind = format_of(path, TEXTS)
                files = FilesConfig(format=kind, columns={"text": "text"} if kind == "text" else columns)
                tables.setdefault(name, []).append((_named(read_file(path, files, task), task, kind), kind == "text"))
        return tables
    if task.files is not None and (task.data_dir or task.hub is None):
        lines = task.files.format == "text"
        return {
            name: [(_named(read_file(path, task.files, task), task, task.files.format), lines) for path in paths]
            for name, paths in _task_files(task, task.files).items()
        }
    if task.hub is not None:
        source = task.hub
        named = {"train": [source.train], "validation": [source.validation or ""], "test": source.test or []}
        names = {name: [split for split in splits if split] for name, splits in named.items()}
        frames = read_hub(source, hub_splits(source), _columns(task))
        return {
            name: [(_named(frames[split], task, "hub"), False) for split in splits]
            for name, splits in names.items()
            if splits
        }
    raise ValueError(f"task {task.name} names no text: give a {', '.join(TEXTS)} file with task.data_files=FILE")


def _columns(task: TaskConfig) -> list[str]:
    return [*task.text, *([task.group] if task.group else [])]


def _named(table: pd.DataFrame, task: TaskConfig, kind: str) -> pd.DataFrame:
    """The table's text, and the group of each row where the task has groups, as columns of these names."""
    named = pd.DataFrame({"text": table["text" if kind == "text" else task.text[0]].fillna("").astype(str)})
    if task.group:
        if task.group not in table:
            raise ValueError(
                f"task.group={task.group}: there is no such column; there are {', '.join(map(str, table))}"
            )
        named["group"] = table[task.group].fillna("").astype(str).str.strip()
    return named


def _task_files(task: TaskConfig, files: FilesConfig) -> dict[str, list[Path]]:
    """The files of each split that are there; names may be patterns in ``task.data_dir``."""
    require_folder(task)
    if files.all:
        return {"train": [place(files.all, task)]}
    named: dict[str, list[str | None]]
    named = {"train": [files.train], "validation": [files.validation], "test": [*files.test]}
    patterns = {split: [name for name in names if name] for split, names in named.items()}
    if not task.data_dir:
        return {split: [Path(name) for name in names] for split, names in patterns.items() if names}
    folder = Path(task.data_dir)
    paths = {split: [path for name in names for path in sorted(folder.glob(name))] for split, names in patterns.items()}
    if not any(paths.values()):
        expected = ", ".join(name for names in patterns.values() for name in names)
        raise ValueError(f"task.data_dir={folder}: none of {expected} is there; task {task.name} needs one of them")
    return {split: files for split, files in paths.items() if files}


def _documents(table: pd.DataFrame, task: TaskConfig, lines: bool) -> pd.DataFrame:
    """The documents in a table, one a row, none of them empty."""
    kind = task.documents if task.documents != "auto" else "block" if lines else "row"
    if kind != "row":
        if task.group:
            raise ValueError(f"task.group={task.group}: documents are rows then, not task.documents={kind}")
        rows = table["text"].str.rstrip("\n").tolist()
        texts = _articles(rows) if kind == "heading" else _blocks(rows, task.block_words)
        table = pd.DataFrame({"text": texts}, dtype=str)
    table = table.assign(text=table["text"].str.strip())
    return table[table["text"] != ""].drop_duplicates(subset="text")


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
