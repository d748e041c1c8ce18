"""The columns of a block's output: those of its input, where each row stood there, and what the model answers."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from latadj.inference.streams.rows import Row
from latadj.inference.streams.served_tasks import ServedTask

# Before the names of answers, of which inputs have some: `label` above all.
PREFIX = "predicted_"
PLACE = pa.schema([pa.field("input_file", pa.string()), pa.field("input_row", pa.int64())])


def output_schema(kept: pa.Schema, answers: dict[str, pa.DataType]) -> pa.Schema:
    """The columns of the output.

    Parameters
    ----------
    kept : the input's
    answers : types of an answer's fields

    Raises
    ------
    ValueError
        if the input has a column of one of the other names.
    """
    added = [*PLACE, *(pa.field(PREFIX + name, kind) for name, kind in answers.items())]
    if taken := [field.name for field in added if field.name in kept.names]:
        raise ValueError(f"the input has a column {taken[0]!r}, as the output would: rename it")
    return pa.schema([*kept, *added])


def block_table(
    schema: pa.Schema, kept: int, file: str, rows: Sequence[Row], task: ServedTask, answers: Sequence[Any]
) -> pa.Table:
    """The output of some rows.

    Parameters
    ----------
    schema : of the output
    kept : how many of its columns are the input's
    file : of the input
    answers : of ``task``, one for each row
    """
    own = pa.schema(list(schema)[:kept])
    columns = _of_batches(own, rows) if rows and _has_batches(rows[0]) else _of_records(own, rows)
    columns += [pa.array([file] * len(rows), pa.string()), pa.array([row.number for row in rows], pa.int64())]
    columns += _of_answers(list(schema)[kept + len(PLACE) :], task, answers)
    return pa.Table.from_arrays(columns, schema=schema)


def _has_batches(row: Row) -> bool:
    return isinstance(row.record, tuple)


def _of_batches(schema: pa.Schema, rows: Sequence[Row]) -> list[Any]:
    """Columns of rows of Parquet: as they were, whatever their types."""
    batches = []
    for _, group in groupby((row.record for row in rows), key=lambda record: id(record[0])):
        records = list(group)
        batches.append(records[0][0].take(pa.array([place for _, place in records], pa.int64())))
    table = pa.Table.from_batches(batches).cast(schema)
    return list(table.columns)


def _of_records(schema: pa.Schema, rows: Sequence[Row]) -> list[Any]:
    """Columns of rows of lines: of lists in the columns' order, or of objects."""
    columns = []
    for place, field in enumerate(schema):
        named = [row.record.get(field.name) if isinstance(row.record, dict) else row.record[place] for row in rows]
        if pa.types.is_string(field.type):
            of_json = field.metadata is not None and b"json" in field.metadata
            named = [_text(value, of_json) for value in named]
        elif pa.types.is_floating(field.type):
            named = [None if value is None else float(value) for value in named]
        columns.append(pa.array(named, field.type))
    return columns


def _text(value: Any, of_json: bool) -> str | None:
    """A value of a column of text; half a character, which no text can hold, as Python shows it."""
    if value is None:
        return None
    return (json.dumps(value, ensure_ascii=False) if of_json else str(value)).encode(errors="backslashreplace").decode()


def _of_answers(fields: Sequence[pa.Field], task: ServedTask, answers: Sequence[Any]) -> list[Any]:
    if len(fields) == 1 and pa.types.is_fixed_size_list(fields[0].type):  # vectors, which need not become objects
        number = fields[0].type.value_type.to_pandas_dtype()
        flat = pa.array(np.ascontiguousarray(answers, dtype=number).reshape(-1))
        return [pa.FixedSizeListArray.from_arrays(flat, type=fields[0].type)]
    found = [task.fields(answer) for answer in answers]
    return [pa.array([one[field.name.removeprefix(PREFIX)] for one in found], field.type) for field in fields]
