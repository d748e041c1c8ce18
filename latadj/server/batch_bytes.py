"""Token rows and answers as bytes, between the server and the processes that hold its model."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

TYPES = "token_type_ids"
# Place of the speedup, number of rows, whether token types follow the token ids.
_BATCH = struct.Struct("<IIB")
# Rows, outputs of each, and the seconds that the model ran.
_ANSWER = struct.Struct("<IId")
_ID, _LENGTH, _OUTPUT = "<i4", "<u4", "<f4"


@dataclass(frozen=True)
class BatchAnswer:
    """What a batch gave.

    outputs : (rows, outputs) float32
    seconds : that the model ran, by the clock of its process
    """

    outputs: np.ndarray
    seconds: float


def batch_to_bytes(rows: Sequence[dict[str, Any]], place: int) -> bytes:
    """A batch for the model.

    Parameters
    ----------
    rows : ``input_ids``, and ``token_type_ids`` of some; where others lack them, all their tokens are of type 0
    place : of the speedup
    """
    types = any(TYPES in row for row in rows)
    columns = [np.concatenate([row["input_ids"] for row in rows])]
    if types:
        columns.append(np.concatenate([row.get(TYPES) or [0] * len(row["input_ids"]) for row in rows]))
    lengths = np.array([len(row["input_ids"]) for row in rows], dtype=_LENGTH)
    head = _BATCH.pack(place, len(rows), types)
    return b"".join([head, lengths.tobytes(), *(column.astype(_ID).tobytes() for column in columns)])


def batch_from_bytes(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The rows and the place that :func:`batch_to_bytes` was given.

    Raises
    ------
    ValueError
        if these are not the bytes of a batch.
    """
    if len(data) < _BATCH.size:
        raise ValueError(f"a batch of {len(data)} bytes")
    place, count, types = _BATCH.unpack_from(data)
    lengths = np.frombuffer(data, _LENGTH, count, _BATCH.size).astype(np.int64)
    ends = [0, *np.cumsum(lengths).tolist()]
    ids = np.frombuffer(data, _ID, offset=_BATCH.size + lengths.size * np.dtype(_LENGTH).itemsize)
    if len(ids) != ends[-1] * (2 if types else 1):
        raise ValueError(f"a batch of {ends[-1]} tokens with {len(ids)} numbers")
    rows: list[dict[str, Any]] = [{"input_ids": ids[start:end]} for start, end in pairwise(ends)]
    if types:
        for row, (start, end) in zip(rows, pairwise(ends), strict=True):
            row[TYPES] = ids[ends[-1] + start : ends[-1] + end]
    return rows, place


def answer_to_bytes(answer: BatchAnswer) -> bytes:
    """An answer for the server."""
    rows, outputs = answer.outputs.shape
    return _ANSWER.pack(rows, outputs, answer.seconds) + answer.outputs.astype(_OUTPUT).tobytes()


def answer_from_bytes(data: bytes) -> BatchAnswer:
    """The answer that :func:`answer_to_bytes` was given."""
    rows, outputs, seconds = _ANSWER.unpack_from(data)
    return BatchAnswer(np.frombuffer(data, _OUTPUT, offset=_ANSWER.size).reshape(rows, outputs), seconds)
