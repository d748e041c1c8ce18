"""The files that a task names: found, and refused where they are missing, without a library that reads them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latadj.config import FilesConfig, TaskConfig
from latadj.config.options.task import MTEB

NAMES = ("train", "validation", "test")
TABLES = {
    ".csv": "csv",
    ".tsv": "quoted_tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
TEXTS = {".txt": "text", **TABLES}
# What pandas unpacks by itself; Parquet and plain text are read by others.
PACKED = (".gz", ".bz2", ".xz", ".zip")
CONLL = "conll"
# Suffix -> format of the files in ``task.data_files``, by type of the task.
QUESTIONS = {".json": "squad", ".jsonl": "jsonl", ".parquet": "parquet"}
TAGGED = {
    **{suffix: name for suffix, name in TABLES.items() if name not in ("csv", "quoted_tsv")},
    **dict.fromkeys((".conll", ".txt", ".tsv", ".bio", ".iob", ".iob2", ".iobes"), CONLL),
}
POSSIBLE = {
    "classification": TABLES,
    "generation": TEXTS,
    "token_classification": TAGGED,
    "question_answering": QUESTIONS,
    "embedding": TEXTS,
    "retrieval": TEXTS,
    "reranking": TEXTS,
}


@dataclass
class DataFiles:
    """Files of each split, perhaps none; several tests have names of their own."""

    train: list[Path]
    validation: list[Path]
    tests: dict[str, list[Path]]


def data_files(value: Any, possible: Mapping[str, str]) -> DataFiles:
    """The files that ``task.data_files`` names; a file or a list of them alone is training data.

    Parameters
    ----------
    value : FILE, [FILE,FILE] or {train: …, validation: …, test: …}, where the last may be {NAME: FILE}; each FILE may
        be a pattern
    possible : suffix -> format: ``TABLES`` or ``TEXTS``

    Raises
    ------
    ValueError
        if a split is unknown, nothing is named, or a file is of no known format.
    """
    by_split: dict[Any, Any] = value if isinstance(value, dict) else {"train": value}
    unknown = [str(name) for name in by_split if name not in NAMES]
    if unknown:
        raise ValueError(f"task.data_files: {', '.join(unknown)}: expected some of {', '.join(NAMES)}")
    files = DataFiles(
        _expand(by_split.get("train"), possible),
        _expand(by_split.get("validation"), possible),
        {name: _expand(entry, possible) for name, entry in _tests(by_split.get("test"), possible).items()},
    )
    if not (files.train or files.validation or files.tests):
        raise ValueError("task.data_files: it is empty; expected a file, a list of files, or files for each split")
    return files


def format_of(path: Path, possible: Mapping[str, str]) -> str:
    """The format that a file's name tells.

    Raises
    ------
    ValueError
        if it tells none.
    """
    _, *suffixes = path.name.lower().split(".")
    packed = len(suffixes) > 1 and f".{suffixes[-1]}" in PACKED
    suffix = f".{suffixes[-2 if packed else -1]}" if suffixes else ""
    if suffix not in possible or (packed and possible[suffix] in ("parquet", "text")):
        raise ValueError(
            f"task.data_files={path}: expected a file that ends in {', '.join(possible)}; "
            f"packed ones, such as .csv.gz, in {', '.join(PACKED)}"
        )
    return possible[suffix]


def _tests(value: Any, possible: Mapping[str, str]) -> dict[str, Any]:
    """Name of each test -> what is given for it."""
    if isinstance(value, dict):
        strange = [str(name) for name in value if not re.fullmatch(r"[\w.-]+", str(name))]
        if strange:
            raise ValueError(
                f"task.data_files: a test called {strange[0]!r}: expected letters, digits, '_', '-' or '.'"
            )
        return {str(name): entry for name, entry in value.items() if entry}
    entries = _listed(value)
    if not entries:
        return {}
    if len(entries) == 1:
        return {"test": entries[0]}
    named: dict[str, Any] = {}
    for entry in entries:
        name = re.sub(r"[^\w-]+", "_", Path(str(entry)).name.split(".")[0]).strip("_") or "test"
        if name in named:
            raise ValueError(
                f"task.data_files: two tests are called {name!r}; name them with 'test:{{NAME:FILE,NAME:FILE}}'"
            )
        named[name] = entry
    return named


def _expand(value: Any, possible: Mapping[str, str]) -> list[Path]:
    """Paths of one split, patterns filled in."""
    files: list[Path] = []
    for entry in _listed(value):
        path = Path(str(entry)).expanduser()
        if path.is_dir():
            raise ValueError(f"task.data_files={path}: this is a folder; name files in it, such as {path / '*.csv'}")
        pattern = not path.exists() and any(sign in str(path) for sign in "*?[")
        paths = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor)))) if pattern else [path]
        if not paths:
            raise ValueError(f"task.data_files={path}: no file fits this pattern")
        for one in paths:
            format_of(one, possible)
        files += paths
    return files


def _listed(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def place(name: str, task: TaskConfig) -> Path:
    """A file of that name in ``task.data_dir``, or where its package has it."""
    return Path(task.data_dir) / Path(name).name if task.data_dir else Path(name)


def task_files(task: TaskConfig, files: FilesConfig, *, suffix: bool = False) -> DataFiles:
    """The files that a task's own config names.

    Parameters
    ----------
    suffix : name tests by their files' whole names, not without the suffix

    Raises
    ------
    ValueError
        if ``task.data_dir`` is no folder.
    """
    require_folder(task)

    def places(name: str | None) -> list[Path]:
        return [place(name, task)] if name else []

    if files.all:
        return DataFiles(places(files.all), [], {})
    tests = {Path(name).name if suffix else Path(name).stem: places(name) for name in files.test}
    return DataFiles(places(files.train), places(files.validation), tests)


def require_folder(task: TaskConfig) -> None:
    """Refuse a ``task.data_dir`` that is no folder.

    Raises
    ------
    ValueError
    """
    if task.data_dir and not Path(task.data_dir).is_dir():
        raise ValueError(f"task.data_dir={task.data_dir}: no such folder")


def require_files(task: TaskConfig) -> None:
    """Refuse files that a task names and that are not there, and a package that is to have them.

    Raises
    ------
    ValueError
    """
    if task.type == MTEB:
        if find_spec(MTEB) is None:
            raise ValueError("task=mteb needs the package mteb: pip install 'latadj[mteb]', on Python 3.11 or later")
        if task.name == MTEB:
            raise ValueError("task=mteb: which task of mteb? Name it, as in task.name=STSBenchmark")
        return
    require_folder(task)
    if task.data_files is not None:
        files = data_files(task.data_files, POSSIBLE[task.type])
    elif task.files is None or task.scores_continuations or not (task.data_dir or task.hub is None):
        return  # from the hub, or by patterns
    else:
        files = task_files(task, task.files)
    for path in (*files.train, *files.validation, *(path for paths in files.tests.values() for path in paths)):
        require_file(path, task)


def require_file(path: Path, task: TaskConfig) -> None:
    """Refuse a path that is no file.

    Raises
    ------
    ValueError
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; task {task.name} needs it")
