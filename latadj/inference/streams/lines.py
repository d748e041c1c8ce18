"""Reads rows out of lines: plain text, JSON lines, and tables with commas or tabs."""

import csv
import json
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from latadj.inference.streams.rows import WORDS, ColumnOptions, Row, StreamPosition, checked

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Of a table's field. Where a quote is never closed, this much is read before that is noticed.
LONGEST_FIELD = 2**20
LINES_TO_LEARN_FROM = 100


class Lines:
    """The lines of a binary stream, counted."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.line, self.offset = stream, 0, 0
        self._held: deque[bytes] = deque()

    def next(self) -> bytes:
        """The next line with its end; nothing at the end of the stream."""
        line = self._held.popleft() if self._held else self.stream.readline()
        first = self.offset == 0
        self.offset += len(line)
        self.line += bool(line)
        return line.removeprefix(BYTE_ORDER_MARK) if first else line

    def peek(self, most: int) -> list[bytes]:
        """The next lines, at most so many, which ``next`` gives again."""
        while len(self._held) < most and (line := self.stream.readline()):
            self._held.append(line)
        first = self.offset == 0
        held = list(self._held)[:most]
        return [line.removeprefix(BYTE_ORDER_MARK) if first and not at else line for at, line in enumerate(held)]

    def give_back(self, lines: Sequence[bytes]) -> None:
        """Stand before lines again that ``next`` gave last."""
        self._held.extendleft(reversed(lines))
        self.line -= len(lines)
        self.offset -= sum(map(len, lines))

    def seek(self, line: int, offset: int) -> None:
        """Go to where an earlier reader stood."""
        self._held.clear()
        if offset > (end := self.stream.seek(0, os.SEEK_END)):
            raise ValueError(f"the run had read {offset} bytes, and its input has {end}")
        self.stream.seek(offset)
        self.line, self.offset = line, offset


class LineReader:
    """Rows of a stream of lines.

    columns : the text columns that are read; of plain text there is one without a name
    row : rows that were given out
    key_type : as a Parquet file has it; none of text
    """

    columns: tuple[str, ...]
    key_type = None

    def __init__(self, stream: BinaryIO, name: str, options: ColumnOptions) -> None:
        self.lines, self.name, self.options, self.row = Lines(stream), name, options, 0

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.row, self.lines.line, self.lines.offset)

    @property
    def reads(self) -> str:
        """What the model does with a text."""
        return self.options.reads

    @property
    def total(self) -> int | None:
        """Bytes of the file; None where nobody knows."""
        try:
            status = os.fstat(self.lines.stream.fileno())
        except (OSError, ValueError):  # no file of the system
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    @property
    def done(self) -> int:
        """Bytes that were read."""
        return self.lines.offset

    def seek(self, position: StreamPosition) -> None:
        """Go on where an earlier reader stood."""
        if position.offset:
            self.lines.seek(position.line, position.offset)
            self.row = position.row

    def rows(self) -> Iterator[Row]:
        """The rows from here on, broken ones too."""
        raise NotImplementedError

    def _checked(self, values: list[Any], key: Any = None, line: int | None = None, *, record: Any = None) -> Row:
        row = checked(self.row, values, self.columns, key, line, reads=self.reads)
        if self.options.keep:
            row.record = record
        return row

    def close(self) -> None:
        """Close the stream."""
        self.lines.stream.close()


class TextReader(LineReader):
    """A text a line."""

    def __init__(self, stream: BinaryIO, name: str, options: ColumnOptions) -> None:
        super().__init__(stream, name, options)
        if options.text or options.key:
            option = f"text={options.text[0]}" if options.text else f"id={options.key}"
            raise ValueError(f"{option}: {name} is read as plain text, which has no columns; say format=csv or jsonl")
        if len(options.trained) > 1:
            raise ValueError(
                f"{name}: the model reads {len(options.trained)} texts at a time ({', '.join(options.trained)}), and "
                "plain text has one a line: give CSV, TSV, JSONL or Parquet"
            )
        self.columns = ("the line",)

    def rows(self) -> Iterator[Row]:
        while line := self.lines.next():
            self.row += 1
            try:
                text = line.decode()
                yield self._checked([text], record=[text.rstrip("\r\n")])
            except UnicodeDecodeError as error:
                yield Row(self.row, broken=_not_utf8(error))


class JsonReader(LineReader):
    """A JSON object a line."""

    def __init__(self, stream: BinaryIO, name: str, options: ColumnOptions) -> None:
        super().__init__(stream, name, options)
        first = self.lines.peek(LINES_TO_LEARN_FROM)
        objects = [parsed for parsed in map(_json_object, first) if isinstance(parsed, dict)]
        if first and not objects:
            raise ValueError(
                f"{name}: none of its first {len(first)} lines is a JSON object; is it of another format=?"
            )
        textual = (str, list) if options.reads == WORDS else str
        cells = [(name, isinstance(value, textual)) for row in objects for name, value in row.items()]
        columns, possible = ([*dict.fromkeys(n for n, text in cells if text or every)] for every in (True, False))
        # An empty file has no columns, and no row that could miss them.
        self.columns = options.text_columns(columns, name, possible) if first else tuple(options.text)

    def rows(self) -> Iterator[Row]:
        while line := self.lines.next():
            self.row += 1
            parsed = _json_object(line)
            if isinstance(parsed, str):
                yield Row(self.row, broken=parsed)
            else:
                key = None if self.options.key is None else parsed.get(self.options.key)
                values = [parsed.get(column) for column in self.columns]
                yield self._checked(values, key, record=parsed)


class TableReader(LineReader):
    """A table with a header, its fields between commas or tabs, quoted where they must be.

    A wrong quote is an error, but between tabs, where it stands for itself: such files are often written without any
    quoting. There a field never goes on in the next line.
    """

    def __init__(self, stream: BinaryIO, name: str, options: ColumnOptions, *, tabs: bool) -> None:
        super().__init__(stream, name, options)
        csv.field_size_limit(LONGEST_FIELD)
        self._tabs = tabs
        self._undecoded: str | None = None
        self._record: list[bytes] = []  # the lines of the record that is being read
        try:
            header = next((record for record in (self._tabbed() if tabs else self._reader()) if record), None)
        except csv.Error as error:
            raise ValueError(f"{name}: its header cannot be read: {error}") from error
        if header is None:
            raise ValueError(f"{name}: it is empty, without even a header that names its columns")
        if self._undecoded:
            raise ValueError(f"{name}: its header is {self._undecoded}")
        self.header, self.width = header, len(header)
        self.columns = options.text_columns(header, name)
        self._places = [header.index(column) for column in self.columns]
        self._key = None if options.key is None else header.index(options.key)

    def rows(self) -> Iterator[Row]:
        return self._rows_between_tabs() if self._tabs else self._rows_between_commas()

    def _rows_between_tabs(self) -> Iterator[Row]:
        for record in self._tabbed():
            if record:  # a line with nothing on it is no row
                self.row += 1
                yield self._row(record, self.lines.line)

    def _tabbed(self) -> Iterator[list[str]]:
        while line := self.lines.next():
            self._undecoded = None
            text = self._decode(line)
            try:
                yield next(csv.reader([text], delimiter="\t", strict=True), [])
            except csv.Error:
                yield text.rstrip("\r\n").split("\t")

    def _rows_between_commas(self) -> Iterator[Row]:
        reader = self._reader()
        while True:
            line, self._undecoded = self.lines.line + 1, None
            self._record.clear()
            try:
                record = next(reader, None)
            except csv.Error as error:
                self.row += 1
                yield Row(self.row, broken=f"no CSV: {error}", line=line)
                # A quote that is never closed took other rows with it: they are read again, from the next line on.
                self.lines.give_back(self._record[1:])
                reader = self._reader()
                continue
            if record is None:
                return
            if record:
                self.row += 1
                yield self._row(record, line)

    def _row(self, record: list[str], line: int) -> Row:
        if self._undecoded:
            return Row(self.row, broken=self._undecoded, line=line)
        if len(record) != self.width:
            return Row(self.row, broken=f"{len(record)} fields, the header has {self.width}", line=line)
        key = None if self._key is None else record[self._key]
        values = [record[place] for place in self._places]
        return self._checked(values, key, line, record=record)

    def _reader(self) -> Iterator[list[str]]:
        # Takes a line at a time, and no more than it needs: after each record the position is behind it.
        return csv.reader(self._decoded(), strict=True)

    def _decoded(self) -> Iterator[str]:
        while line := self.lines.next():
            self._record.append(line)
            yield self._decode(line)

    def _decode(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self._undecoded = _not_utf8(error)
            return line.decode(errors="replace")


def _json_object(line: bytes) -> dict[str, Any] | str:
    """The object on a line, or what is wrong with it."""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    except (ValueError, RecursionError) as error:  # a number may have too many digits for an int
        return "empty" if not line.strip() else f"not JSON: {error}"
    return value if isinstance(value, dict) else f"JSON, but no object: {type(value).__name__}"


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: {error.reason} at byte {error.start + 1}"
