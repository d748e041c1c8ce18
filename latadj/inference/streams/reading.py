"""Opens an input of any format, and cuts it into windows."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from latadj.inference.streams.lines import JsonReader, LineReader, TableReader, TextReader
from latadj.inference.streams.parquet import ParquetReader
from latadj.inference.streams.rows import Position, Row

STREAM = "-"  # standard input, or output
SUFFIXES = {
    **{".txt": "text", ".text": "text", ".csv": "csv", ".tsv": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"},
}
FORMATS = ("text", "csv", "tsv", "jsonl", "parquet")
# Long documents fill a window before its rows are counted.
WINDOW_CHARACTERS = 2**23

Reader = LineReader | ParquetReader


@dataclass
class Window:
    """Rows that are predicted together.

    end : where the reader stands behind them
    """

    rows: list[Row] = field(default_factory=list)
    broken: list[Row] = field(default_factory=list)
    end: Position = field(default_factory=Position)


def format_of(name: str, chosen: str | None) -> str:
    """The format of an input: what was chosen, or what its suffix says; of standard input plain text.

    Raises
    ------
    ValueError
        if neither says it.
    """
    if chosen is not None:
        if chosen not in FORMATS:
            raise ValueError(f"format={chosen}: expected one of {', '.join(FORMATS)}")
        if chosen == "parquet" and name == STREAM:
            raise ValueError("input=-: Parquet is read from its end, which standard input does not have: give a file")
        return chosen
    if name == STREAM:
        return "text"
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"input={name}: the suffix does not say its format: add format={'|'.join(FORMATS)}")
    return SUFFIXES[suffix]


def open_reader(
    name: str, chosen: str | None, text: Sequence[str] = (), trained: Sequence[str] = (), key: str | None = None
) -> Reader:
    """A reader of an input, its columns found.

    Parameters
    ----------
    name : path, or ``-`` for standard input
    chosen : its format; None: by its suffix
    text, trained, key : as in :func:`latadj.inference.streams.columns.text_columns`, and the column of ``id=``

    Raises
    ------
    ValueError
        if it is missing or of another format, or a column is.
    """
    kind = format_of(name, chosen)
    if name == STREAM:
        return _line_reader(kind, sys.stdin.buffer, "standard input", text, trained, key)
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"input={name}: " + ("this is a folder, not a file" if path.is_dir() else "no such file"))
    if kind == "parquet":
        return ParquetReader(path, text, trained, key)
    stream = path.open("rb", buffering=2**18)
    try:
        return _line_reader(kind, stream, name, text, trained, key)
    except ValueError:
        stream.close()
        raise


def _line_reader(
    kind: str, stream: BinaryIO, name: str, text: Sequence[str], trained: Sequence[str], key: str | None
) -> LineReader:
    if kind == "text":
        return TextReader(stream, name, text, trained, key)
    if kind == "jsonl":
        return JsonReader(stream, name, text, trained, key)
    return TableReader(stream, name, text, trained, key, tabs=kind == "tsv")


def windows(reader: Reader, size: int) -> Iterator[Window]:
    """Windows of ``size`` rows, broken ones counted too, or fewer long ones; cut alike wherever a reader begins.

    That holds as long as it begins at the end of a window.
    """
    window, characters = Window(), 0
    for row in reader.rows():
        (window.rows if row.broken is None else window.broken).append(row)
        characters += sum(map(len, row.texts))
        if len(window.rows) + len(window.broken) >= size or characters >= WINDOW_CHARACTERS:
            window.end = reader.position
            yield window
            window, characters = Window(), 0
    if window.rows or window.broken:
        window.end = reader.position
        yield window
