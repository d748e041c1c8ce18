"""Where examples come from, a file of any format or a data set on the hub: each gives a table."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from latadj import hub
from latadj.config import FilesConfig, HubConfig, TaskConfig

FORMATS = ("tsv", "csv", "orange", "text", "jsonl", "parquet")


def read_file(path: Path, files: FilesConfig, task: TaskConfig) -> pd.DataFrame:
    """The table in one file: the columns that ``files.columns`` names, or all where it names none.

    A text file has one column, ``text``, with a row for each line.

    Raises
    ------
    ValueError
        if the file or a column is missing, or the file is not of its format.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; task {task.name} needs it")
    if files.format not in FORMATS:
        raise ValueError(f"files.format={files.format}: expected one of {', '.join(FORMATS)}")
    try:
        frame = _table(path, files)
    except (ValueError, OSError, EOFError) as error:  # ParserError, UnicodeDecodeError and ArrowInvalid are ValueErrors
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: cannot be read as {files.format}: {reason}") from error
    if not files.columns:
        return frame
    for theirs in files.columns.values():
        if theirs not in frame.columns:
            raise ValueError(
                f"{path}: column {theirs!r} is missing; there are {', '.join(map(str, frame.columns[:12]))}"
            )
    return pd.DataFrame({ours: frame[theirs] for ours, theirs in files.columns.items()})


def _table(path: Path, files: FilesConfig) -> pd.DataFrame:
    if files.format == "text":
        return pd.DataFrame({"text": path.read_text(encoding="utf-8-sig").split("\n")})
    if files.format == "jsonl":
        return pd.read_json(path, lines=True, dtype=False, encoding="utf-8-sig")
    if files.format == "parquet":
        return pd.read_parquet(path)
    header: int | None = 0 if files.header else None
    options: dict[str, Any] = {"header": header, "dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    if files.format == "tsv":
        options |= {"sep": "\t", "quoting": csv.QUOTE_NONE, "on_bad_lines": "warn"}
    elif files.format == "orange":
        options |= {"sep": "\t", "skiprows": [1, 2]}
    return pd.read_csv(path, **options)


def place(name: str, task: TaskConfig) -> Path:
    """A file of that name in ``task.data_dir``, or where its package has it."""
    return Path(task.data_dir) / Path(name).name if task.data_dir else Path(name)


def require_folder(task: TaskConfig) -> None:
    """Refuse a ``task.data_dir`` that is no folder.

    Raises
    ------
    ValueError
    """
    if task.data_dir and not Path(task.data_dir).is_dir():
        raise ValueError(f"task.data_dir={task.data_dir}: no such folder")


def read_hub(source: HubConfig, splits: list[str], columns: list[str]) -> dict[str, pd.DataFrame]:
    """Splits of a data set on the hub, or in its cache, by name.

    Raises
    ------
    ValueError
        if the data set cannot be had, or a split or column is missing.
    """
    from datasets import DownloadConfig, load_dataset

    offline = not hub.reachable()
    try:
        loaded = load_dataset(
            source.path,
            source.name,
            revision=source.revision,
            download_config=DownloadConfig(local_files_only=offline, max_retries=1),
        )
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the data set is a script
        if offline:
            raise hub.unreachable(f"data set {source.path!r}", "task.data_dir", hub.BUILT_IN_TASKS) from error
        raise ValueError(f"data set {source.path!r} cannot be loaded from the hub: {error}") from error
    frames = {}
    for split in splits:
        if split not in loaded:
            raise ValueError(f"data set {source.path!r} has no split {split!r}; there are {', '.join(loaded)}")
        frame = loaded[split].to_pandas()
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise ValueError(f"data set {source.path!r}: column {missing[0]!r} is missing; there are {list(frame)}")
        kinds: dict[str, Any] = {name: getattr(kind, "feature", None) for name, kind in loaded[split].features.items()}
        # What the numbers in a column of lists are called, which a table cannot tell.
        frame.attrs["names"] = {column: kind.names for column, kind in kinds.items() if hasattr(kind, "names")}
        frames[split] = frame
    return frames
