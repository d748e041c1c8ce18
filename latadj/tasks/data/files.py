"""Reads tables: the files that a task names, of any format, or a data set on the hub."""

import csv
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import parquet

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.tasks.data.paths import require_file
from latadj.utils import hub

FORMATS = ("tsv", "quoted_tsv", "csv", "orange", "text", "jsonl", "json", "parquet")


def read_file(path: Path, files: FilesConfig, task: TaskConfig) -> pd.DataFrame:
    """The table in one file: the columns that ``files.columns`` names, or all where it names none.

    A text file has one column, ``text``, with a row for each line.

    Raises
    ------
    ValueError
        if the file or a column is missing, or the file is not of its format.
    """
    require_file(path, task)
    if files.format not in FORMATS:
        raise ValueError(f"files.format={files.format}: expected one of {', '.join(FORMATS)}")
    try:
        frame = _table(path, files)
    # What is in a file decides what its library raises: zlib.error and BadZipFile of packed ones, ArrowException, ...
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: cannot be read as {files.format}: {reason}") from error
    if not files.columns:
        return frame
    return pd.DataFrame({name: _column(frame, column, str(path)) for name, column in files.columns.items()})


def _column(frame: pd.DataFrame, column: Any, where: str) -> pd.Series:
    """One column of a table, or several joined by spaces.

    Raises
    ------
    ValueError
        if one is missing.
    """
    names = list(column) if isinstance(column, (list, tuple)) else [column]
    require_columns(frame, names, where)
    return frame[names[0]] if len(names) == 1 else frame[names].agg(" ".join, axis=1)


def require_columns(frame: pd.DataFrame, names: Iterable[Any], where: str, way_out: str = "") -> None:
    """Refuse a table that lacks a column.

    Raises
    ------
    ValueError
        naming the table by ``where`` it is from.
    """
    for name in names:
        if name not in frame:
            there = ", ".join(map(str, frame.columns[:12]))
            raise ValueError(f"{where}: column {name!r} is missing; there are {there}{way_out}")


def _table(path: Path, files: FilesConfig) -> pd.DataFrame:
    if files.format == "text":
        return pd.DataFrame({"text": path.read_text(encoding="utf-8-sig").split("\n")})
    if files.format in ("jsonl", "json"):
        return _json(path, array=files.format == "json")
    if files.format == "parquet":
        return _parquet(path)
    header: int | None = 0 if files.header else None
    options: dict[str, Any] = {"header": header, "dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    if files.format == "tsv":
        options |= {"sep": "\t", "quoting": csv.QUOTE_NONE, "on_bad_lines": "warn"}
    elif files.format == "quoted_tsv":
        options |= {"sep": "\t"}
    elif files.format == "orange":
        options |= {"sep": "\t", "skiprows": [1, 2]}
    frame = pd.read_csv(path, **options)
    if not isinstance(frame.index, pd.RangeIndex):  # what is too much became an index
        raise ValueError(f"its rows have more than the {len(frame.columns)} columns that its first line names")
    return frame


def _parquet(path: Path) -> pd.DataFrame:
    with parquet.ParquetFile(path) as file:
        # Text that is no UTF-8 would raise only where a value is looked at.
        for batch in file.iter_batches():
            batch.validate(full=True)
    return pd.read_parquet(path)


def _json(path: Path, array: bool) -> pd.DataFrame:
    """JSON objects, one a line; with ``array`` perhaps all of them in one array."""
    options: dict[str, Any] = {"dtype": False, "convert_axes": False, "encoding": "utf-8-sig"}
    if not array:
        return pd.read_json(path, lines=True, **options)
    with suppress(ValueError):
        frame = pd.read_json(path, lines=True, **options)
        if all(isinstance(name, str) for name in frame.columns):  # numbers are places in an array
            return frame
    return pd.read_json(path, orient="records", **options)


def hub_splits(source: HubConfig) -> list[str]:
    """The splits of a data set on the hub that a task names."""
    return [split for split in (source.train, source.validation, *(source.test or [])) if split]


def read_hub(
    source: HubConfig,
    splits: Sequence[str] | None,
    columns: Sequence[str],
    named: bool = False,
    optional: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """Splits of a data set on the hub, or in its cache, by name.

    Parameters
    ----------
    splits : None: those for training and validation, and what is called validation and test, as far as it is there
    optional : columns that are read where they are there
    named : give class numbers as the names that the data set has for them

    Raises
    ------
    ValueError
        if the data set cannot be had, or a split or column is missing.
    """
    from datasets import ClassLabel

    loaded = _load(source)
    frames = {}
    if splits is None:
        usual = [name for name in ("validation", "test") if name in loaded]
        splits = [*filter(None, dict.fromkeys([source.train, source.validation, *usual]))]
    for split in splits:
        if split not in loaded:
            raise ValueError(f"data set {source.path!r} has no split {split!r}; there are {', '.join(loaded)}")
        features = loaded[split].features
        missing = [column for column in columns if column not in features]
        if missing:
            raise ValueError(f"data set {source.path!r}: column {missing[0]!r} is missing; there are {list(features)}")
        present = [*columns, *(column for column in optional if column in features)]
        frame = loaded[split].select_columns(present).to_pandas()
        for column in columns:
            if named and isinstance(features[column], ClassLabel):
                names = dict(enumerate(features[column].names))  # a hidden label is -1
                frame[column] = frame[column].map(names)
        # What the numbers in a column of lists are called, which a table cannot tell.
        inner: dict[str, Any] = {name: getattr(kind, "feature", None) for name, kind in features.items()}
        frame.attrs["names"] = {column: kind.names for column, kind in inner.items() if hasattr(kind, "names")}
        frames[split] = frame
    return frames


def _load(source: HubConfig) -> Any:
    from datasets import DownloadConfig, load_dataset

    offline = not hub.reachable()
    try:
        return load_dataset(
            source.path,
            source.name,
            revision=source.revision,
            download_config=DownloadConfig(local_files_only=offline, max_retries=1),
        )
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the data set is a script
        if offline:
            raise hub.unreachable(f"data set {source.path!r}", "task.data_dir", hub.BUILT_IN_TASKS) from error
        raise ValueError(f"data set {source.path!r} cannot be loaded from the hub: {error}") from error
