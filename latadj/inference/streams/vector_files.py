"""Vectors as NumPy and Parquet files, of which the part that grows is only added to, like that of lines."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from latadj.inference.streams.layouts import Layout
from latadj.inference.streams.rows import Row
from latadj.utils.files import atomic_write


@dataclass(frozen=True)
class VectorLayout(Layout):
    """How vectors of one length are written.

    width : numbers of a vector
    dtype : of its numbers
    """

    width: int = 0
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("float32"))


@dataclass(frozen=True)
class NpyLayout(VectorLayout):
    """One array of (rows, width), whose header says how many rows there are once the last is written."""

    indexed = True

    def header(self) -> bytes:
        return self._header(0)

    def rows(self, rows: Sequence[Row], answers: Any) -> bytes:
        return np.ascontiguousarray(answers, dtype=self.dtype).tobytes()

    def publish(self, part: Path, final: Path, written: int) -> None:
        with part.open("r+b") as file:
            file.write(self._header(written))
            file.flush()
            os.fsync(file.fileno())
        part.replace(final)

    def _header(self, rows: int) -> bytes:
        # NumPy leaves room in it for any number of rows.
        written = io.BytesIO()
        facts = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (rows, self.width),
        }
        np.lib.format.write_array_header_1_0(written, facts)
        return written.getvalue()


@dataclass(frozen=True)
class ParquetLayout(VectorLayout):
    """Columns ``row``, ``id`` and ``embedding``, a list of fixed size, in a group of rows for each window.

    A Parquet file says at its end where all of it is, so that nothing can be added to one. The part is a stream of
    Arrow's record batches, which becomes a Parquet file in the end, batch by batch.

    key_type : Arrow's type of ``id``; None: text
    """

    key_type: Any = None

    @cached_property
    def schema(self) -> Any:
        """The columns and their types."""
        number = pa.field("element", pa.from_numpy_dtype(self.dtype), nullable=False)
        columns = [pa.field("row", pa.int64(), nullable=False)]
        if self.keyed:
            columns.append(pa.field("id", self.key_type or pa.string()))
        return pa.schema([*columns, pa.field("embedding", pa.list_(number, self.width), nullable=False)])

    def header(self) -> bytes:
        return bytes(self.schema.serialize())

    def rows(self, rows: Sequence[Row], answers: Any) -> bytes:
        numbers = pa.array(np.ascontiguousarray(answers, dtype=self.dtype).reshape(-1))
        columns = [pa.array([row.number for row in rows], pa.int64())]
        if self.keyed:
            keys = [row.key if self.key_type else _text(row.key) for row in rows]
            columns.append(pa.array(keys, self.key_type or pa.string()))
        columns.append(pa.FixedSizeListArray.from_arrays(numbers, type=self.schema.field("embedding").type))
        return bytes(pa.RecordBatch.from_arrays(columns, schema=self.schema).serialize())

    def publish(self, part: Path, final: Path, written: int) -> None:
        # Of 8 bits there are 256 numbers, which as numbers of a Parquet file would have 32 bits each.
        listed = self.dtype.kind != "f"
        with atomic_write(final) as temporary:
            with (
                pa.OSFile(str(part)) as source,
                pa.ipc.open_stream(source) as batches,
                parquet.ParquetWriter(temporary, self.schema, use_dictionary=listed) as writer,
            ):
                for batch in batches:
                    writer.write_table(pa.Table.from_batches([batch]), row_group_size=len(batch))
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        part.unlink()


def _text(key: Any) -> str | None:
    """An id as text; what no text can hold, half a character, as Python shows it."""
    return None if key is None else str(key).encode(errors="backslashreplace").decode()
