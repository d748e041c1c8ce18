"""Looks through the files of an input: where their blocks begin, and which columns they have."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from latadj.inference.blocks.storage import Storage
from latadj.inference.streams.lines import JsonReader, LineReader, TableReader
from latadj.inference.streams.reading import ParquetReader, Reader
from latadj.inference.streams.rows import ColumnOptions, StreamPosition

# Metadata of a column that holds JSON text: its values are of several kinds, or lists or objects.
AS_JSON = {"json": "true"}
TYPES = {
    frozenset[str](): pa.string(),
    frozenset({"text"}): pa.string(),
    frozenset({"true or false"}): pa.bool_(),
    frozenset({"integer"}): pa.int64(),
    frozenset({"number"}): pa.float64(),
    frozenset({"integer", "number"}): pa.float64(),
}


@dataclass(frozen=True)
class Block:
    """Some rows of one file.

    name : of the files that are written of it
    file : of the input
    start : where its first row begins
    rows : how many it has
    """

    name: str
    file: str
    start: StreamPosition
    rows: int


@dataclass(frozen=True)
class FileSurvey:
    """What a file holds.

    text : its text columns
    starts : where its blocks begin
    rows : of all of it
    schema : of its columns; None: of JSON, whose ``kinds`` of values say it
    """

    file: str
    text: tuple[str, ...]
    starts: list[StreamPosition]
    rows: int
    schema: pa.Schema | None
    kinds: dict[str, set[str]] = field(default_factory=dict)

    def blocks(self, number: int, block_rows: int) -> list[Block]:
        """Its blocks; it is the input's file of this number."""
        return [
            Block(f"part-{number:05}-{place:05}", self.file, start, min(block_rows, self.rows - place * block_rows))
            for place, start in enumerate(self.starts)
        ]


def survey(storage: Storage, file: str, kind: str, options: ColumnOptions, block_rows: int) -> FileSurvey:
    """Look through a file; of Parquet its footer says all.

    Raises
    ------
    ValueError
        if it cannot be read, or has not the columns of the text.
    """
    reader = storage.reader(file, kind, options)
    try:
        if isinstance(reader, ParquetReader):
            starts = [StreamPosition(row) for row in range(0, reader.total, block_rows)]
            return FileSurvey(file, reader.columns, starts, reader.total, reader.schema.remove_metadata())
        return _read_through(file, reader, block_rows)
    finally:
        reader.close()


def _read_through(file: str, reader: LineReader, block_rows: int) -> FileSurvey:
    starts, rows, position = list[StreamPosition](), 0, reader.position
    kinds: dict[str, set[str]] = {}
    of_json = isinstance(reader, JsonReader)
    for row in reader.rows():
        if rows % block_rows == 0:
            starts.append(position)
        rows += 1
        if rows % block_rows == 0:
            position = reader.position
        if of_json and row.record is not None:
            for name, value in row.record.items():
                kinds.setdefault(name, set()).update(_kind(value))
    return FileSurvey(file, tuple(reader.columns), starts, rows, None if of_json else _text_schema(reader), kinds)


def _text_schema(reader: Reader) -> pa.Schema:
    """The columns of plain text, or of a table; nothing says what they are but text."""
    if not isinstance(reader, TableReader):
        return pa.schema([("text", pa.string())])
    if twice := next((name for name in reader.header if reader.header.count(name) > 1), None):
        raise ValueError(f"{reader.name}: there are several columns {twice!r}: rename the others")
    return pa.schema([(name, pa.string()) for name in reader.header])


def _kind(value: Any) -> Iterable[str]:
    if value is None:
        return ()
    if isinstance(value, bool):
        return ("true or false",)
    if isinstance(value, int):
        return ("integer",) if -(2**63) <= value < 2**63 else ("large integer",)
    return ("number",) if isinstance(value, float) else ("text",) if isinstance(value, str) else ("nested",)


def kept_columns(surveys: Sequence[FileSurvey]) -> pa.Schema:
    """The columns of all files, which those of the output begin with.

    Raises
    ------
    ValueError
        if a file has others than the first, or its text in another.
    """
    filled = [one for one in surveys if one.rows]
    if schemas := [one.schema for one in filled if one.schema is not None]:
        first = filled[0]
        if other := next((one for one in filled if _types(one.schema) != _types(first.schema)), None):
            raise ValueError(
                f"{other.file}: its columns are {_listed(other.schema)}, and those of {first.file} "
                f"{_listed(first.schema)}: predict files of one kind at a time"
            )
        nullable = [any(column.nullable for column in columns) for columns in zip(*schemas, strict=True)]
        return pa.schema([column.with_nullable(may) for column, may in zip(schemas[0], nullable, strict=True)])
    if other := next((one for one in filled if one.text != filled[0].text), None):
        raise ValueError(
            f"{other.file}: its text is in {', '.join(other.text)}, and that of {filled[0].file} in "
            f"{', '.join(filled[0].text)}: name the same columns in all files"
        )
    kinds: dict[str, set[str]] = {}
    for one in filled:
        for name, found in one.kinds.items():
            kinds.setdefault(name, set()).update(found)
    return pa.schema([_field(name, frozenset(found)) for name, found in kinds.items()])


def _field(name: str, kinds: frozenset[str]) -> pa.Field:
    return pa.field(name, TYPES[kinds]) if kinds in TYPES else pa.field(name, pa.string(), metadata=AS_JSON)


def _types(schema: pa.Schema | None) -> list[tuple[str, pa.DataType]]:
    """All that columns of several files must have in common: in some a value may be missing, in others not."""
    return [(field.name, field.type) for field in schema or ()]


def _listed(schema: pa.Schema | None) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema or ())[:200]
