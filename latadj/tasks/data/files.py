"""The files that ``task.data_files`` names, of running text and of classifications alike."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    given: dict[Any, Any] = value if isinstance(value, dict) else {"train": value}
    unknown = [str(name) for name in given if name not in NAMES]
    if unknown:
        raise ValueError(f"task.data_files: {', '.join(unknown)}: expected some of {', '.join(NAMES)}")
    found = DataFiles(
        _expand(given.get("train"), possible),
        _expand(given.get("validation"), possible),
        {name: _expand(entry, possible) for name, entry in _tests(given.get("test"), possible).items()},
    )
    if not (found.train or found.validation or found.tests):
        raise ValueError("task.data_files: it is empty; expected a file, a list of files, or files for each split")
    return found


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
    found: list[Path] = []
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
        found += paths
    return found


def _listed(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
