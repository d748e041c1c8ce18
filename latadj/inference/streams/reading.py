"""Opens an input of any format, Parquet files among them, and cuts it into windows."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from latadj.inference.streams.lines import JsonReader, LineReader, TableReader, TextReader
from latadj.inference.streams.rows import CUT, MOST_CHARACTERS, WORDS, ColumnOptions, Row, StreamPosition, checked

STREAM = "-"  # standard input, or output
SUFFIXES = {
    **{".txt": "text", ".text": "text", ".csv": "csv", ".tsv": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"},
}
FORMATS = ("text", "csv", "tsv", "jsonl", "parquet")
# Long documents fill a window before its rows are counted.
WINDOW_CHARACTERS = 2**23
ROWS_AT_ONCE = 1024
BUFFER = 2**20  # bytes of a column that are read ahead; without it a row group's whole column is


class ParquetReader:
    """Rows of a Parquet file.

    columns : the text columns that are read
    schema : of all columns of the file
    reads : what the model does with a text
    key_type : Arrow's type of the ids, where they are whole numbers; None: they are written as text
    """

    def __init__(self, source: Path | BinaryIO, name: str, options: ColumnOptions) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.name, self.row, self._keeps = name, 0, options.keep
        try:
            self._file = parquet.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False)
            self.schema = schema = self._file.schema_arrow
            names = list(schema.names)
            textual = [field.name for field in schema if _is_text(field.type, options)]
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}: the name of a column is no UTF-8 text: rename it") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{name}: this is no Parquet file: {str(error).splitlines()[0]}") from error
        self.columns, self.key = options.text_columns(names, self.name, textual), options.key
        self.reads = options.reads
        kind = None if self.key is None else schema.field(self.key).type
        self.key_type = kind if kind is not None and pa.types.is_integer(kind) else None
        for column in self.columns:
            if column not in textual:
                raise ValueError(f"{name}: column {column!r} holds {schema.field(column).type}, not text")

    @property
    def total(self) -> int:
        """Rows of the file."""
        return int(self._file.metadata.num_rows)

    @property
    def done(self) -> int:
        """Rows that were read."""
        return self.row

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.row)

    def seek(self, position: StreamPosition) -> None:
        """Go on where an earlier reader stood."""
        self.row = position.row

    def rows(self) -> Iterator[Row]:
        """The rows from here on, broken ones too."""
        wanted = list(dict.fromkeys([*self.columns, *([self.key] if self.key else [])]))
        if self._keeps:
            wanted = list(self.schema.names)
        before = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if before + count > self.row:
                yield from self._group(group, wanted, before)
            before += count

    def _group(self, group: int, wanted: list[str], before: int) -> Iterator[Row]:
        for batch in self._batches(group, wanted):
            skip = min(max(self.row - before, 0), len(batch))
            before += len(batch)
            if skip == len(batch):
                continue
            rest = batch.slice(skip)
            read = rest.select([*self.columns, *([self.key] if self.key else [])]) if self._keeps else rest
            try:
                values: dict[str, list[Any]] = read.to_pydict()
            except UnicodeDecodeError:
                values = {name: [_value(one) for one in read[name]] for name in read.schema.names}
            keys = values[self.key] if self.key else [None] * len(rest)
            for place, (key, *texts) in enumerate(zip(keys, *(values[column] for column in self.columns), strict=True)):
                self.row += 1
                if any(isinstance(text, UnicodeDecodeError) for text in texts):
                    yield Row(self.row, broken="not UTF-8")
                    continue
                row = checked(self.row, texts, self.columns, key, reads=self.reads)
                row.record = (rest, place) if self._keeps else None
                yield row

    def _batches(self, group: int, wanted: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from self._file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=wanted)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.name}: this Parquet file is damaged or was cut short: {reason}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)


def _value(one: Any) -> Any:
    """A value of a column; the error, where it is no text though its column says so."""
    try:
        return one.as_py()
    except UnicodeDecodeError as error:
        return error


def _is_text(kind: Any, options: ColumnOptions) -> bool:
    from pyarrow import types

    if options.reads == WORDS and (types.is_list(kind) or types.is_large_list(kind)):
        kind = kind.value_type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


Reader = LineReader | ParquetReader


@dataclass
class Window:
    """Rows that are predicted together.

    end : where the reader stands behind them
    """

    rows: list[Row] = field(default_factory=list)
    broken: list[Row] = field(default_factory=list)
    end: StreamPosition = field(default_factory=StreamPosition)


def is_stream(name: str) -> bool:
    """Whether an input can be read once only: standard input, or a pipe or device such as ``<(command)``."""
    path = Path(name)
    return name == STREAM or (path.exists() and not path.is_file() and not path.is_dir())


def input_format(name: str, chosen: str | None) -> str:
    """The format of an input: what was chosen, or what its suffix says; of a stream without one plain text.

    Raises
    ------
    ValueError
        if neither says it.
    """
    if chosen is not None:
        if chosen not in FORMATS:
            raise ValueError(f"format={chosen}: expected one of {', '.join(FORMATS)}")
        if chosen == "parquet" and is_stream(name):
            raise ValueError(f"input={name}: Parquet is read from its end, which a stream does not have: give a file")
        return chosen
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES and is_stream(name):
        return "text"
    if suffix not in SUFFIXES:
        raise ValueError(f"input={name}: the suffix does not say its format: add format={'|'.join(FORMATS)}")
    return SUFFIXES[suffix]


def open_reader(name: str, chosen: str | None, options: ColumnOptions) -> Reader:
    """A reader of an input, its columns found.

    Parameters
    ----------
    name : path, or ``-`` for standard input
    chosen : its format; None: by its suffix

    Raises
    ------
    ValueError
        if it is missing or of another format, or a column is.
    """
    file_format = input_format(name, chosen)
    if name == STREAM:
        if sys.stdin is None:
            raise ValueError("input=-: standard input is closed: give a file")
        return reader_of(sys.stdin.buffer, "standard input", file_format, options)
    path = Path(name)
    if not path.is_file() and not is_stream(name):
        wrong = "this is a folder, not a file; engine=ray reads folders" if path.is_dir() else "no such file"
        raise ValueError(f"input={name}: {wrong}")
    if file_format == "parquet":
        return ParquetReader(path, name, options)
    return reader_of(path.open("rb", buffering=2**18), name, file_format, options)


def reader_of(stream: BinaryIO, name: str, file_format: str, options: ColumnOptions) -> Reader:
    """A reader of a stream, which it closes, its columns found.

    Parameters
    ----------
    name : of the stream, for messages

    Raises
    ------
    ValueError
        if it is of another format, or a column is missing.
    """
    try:
        if file_format == "parquet":
            return ParquetReader(stream, name, options)
        return _line_reader(file_format, stream, name, options)
    except ValueError:
        stream.close()
        raise


def _line_reader(file_format: str, stream: BinaryIO, name: str, options: ColumnOptions) -> LineReader:
    if file_format == "text":
        return TextReader(stream, name, options)
    if file_format == "jsonl":
        return JsonReader(stream, name, options)
    return TableReader(stream, name, options, tabs=file_format == "tsv")


def windows(reader: Reader, size: int, rows: int | None = None) -> Iterator[Window]:
    """Windows of ``size`` rows, broken ones counted too, or fewer long ones; cut alike wherever a reader begins.

    That holds as long as it begins at the end of a window.

    Parameters
    ----------
    rows : that are read in all; None: up to the end
    """
    # A text that is not cut becomes as many rows of tokens as it needs.
    most_characters = WINDOW_CHARACTERS if reader.reads == CUT else MOST_CHARACTERS
    window, characters = Window(), 0
    for row in islice(reader.rows(), rows):
        (window.rows if row.broken is None else window.broken).append(row)
        characters += sum(map(len, row.texts))
        if len(window.rows) + len(window.broken) >= size or characters >= most_characters:
            window.end = reader.position
            yield window
            window, characters = Window(), 0
    if window.rows or window.broken:
        window.end = reader.position
        yield window
