"""Reads rows out of a Parquet file, a little of one row group at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latadj.inference.streams.columns import require_column, text_columns
from latadj.inference.streams.rows import Position, Row, checked

ROWS_AT_ONCE = 1024
BUFFER = 2**20  # bytes of a column that are read ahead; without it a row group's whole column is


class ParquetReader:
    """Rows of a Parquet file.

    columns : the text columns that are read
    """

    def __init__(self, path: Path, text: Sequence[str], trained: Sequence[str], key: str | None) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.name, self.row = str(path), 0
        try:
            self._file = parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path}: this is no Parquet file: {str(error).splitlines()[0]}") from error
        schema = self._file.schema_arrow
        there = [field.name for field in schema]
        texts = [field.name for field in schema if _is_text(field.type)]
        known = set(text or trained) <= set(there)
        self.columns = text_columns(text, trained, there if known or text else texts, self.name)
        for column in self.columns:
            if column not in texts:
                raise ValueError(f"{path}: column {column!r} holds {schema.field(column).type}, not text")
        require_column(key, there, self.name)
        self.key = key

    @property
    def total(self) -> int:
        """Rows of the file."""
        return int(self._file.metadata.num_rows)

    @property
    def done(self) -> int:
        """Rows that were read."""
        return self.row

    @property
    def position(self) -> Position:
        return Position(self.row)

    def seek(self, position: Position) -> None:
        """Go on where an earlier reader stood."""
        self.row = position.row

    def rows(self) -> Iterator[Row]:
        """The rows from here on, broken ones too."""
        wanted = list(dict.fromkeys([*self.columns, *([self.key] if self.key else [])]))
        before = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if before + count > self.row:
                yield from self._group(group, wanted, before)
            before += count

    def _group(self, group: int, wanted: list[str], before: int) -> Iterator[Row]:
        for batch in self._file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=wanted):
            skip = min(max(self.row - before, 0), len(batch))
            before += len(batch)
            if skip == len(batch):
                continue
            try:
                values: dict[str, list[Any]] = batch.slice(skip).to_pydict()
            except UnicodeDecodeError:
                values = {name: [_value(one) for one in batch.slice(skip)[name]] for name in wanted}
            keys = values[self.key] if self.key else [None] * (len(batch) - skip)
            for key, *texts in zip(keys, *(values[column] for column in self.columns), strict=True):
                self.row += 1
                if any(isinstance(text, UnicodeDecodeError) for text in texts):
                    yield Row(self.row, broken="not UTF-8")
                    continue
                yield checked(self.row, texts, self.columns, key)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _value(one: Any) -> Any:
    """A value of a column; the error, where it is no text though its column says so."""
    try:
        return one.as_py()
    except UnicodeDecodeError as error:
        return error


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
