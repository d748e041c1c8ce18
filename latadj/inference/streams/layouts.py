"""How answers are written: as CSV or JSON lines, row by row."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latadj.inference.streams.rows import Row
from latadj.utils.csv_text import csv_text

if TYPE_CHECKING:
    from latadj.inference.streams.served_tasks import ServedTask


@dataclass(frozen=True)
class Layout:
    """How predictions are written.

    kind : ``csv`` or ``jsonl``
    task : what an answer is, and how it is written
    keyed : whether rows have an ``id``
    escape : of CSV, see :func:`latadj.utils.csv_text.escaped`
    indexed : whether a table beside the output says which row of the input each answer is for
    """

    indexed: ClassVar[bool] = False
    kind: str
    task: "ServedTask"
    keyed: bool = False
    escape: bool = False

    def header(self) -> bytes:
        """What stands before the first row."""
        if self.kind == "jsonl":
            return b""
        return _csv([["row", *(["id"] if self.keyed else []), *self.task.columns]], escape=self.escape)

    def rows(self, rows: Sequence[Row], answers: Sequence[Any]) -> bytes:
        """A window's rows, with the task's answer to each."""
        pairs = zip(rows, answers, strict=True)
        if self.kind == "jsonl":
            lines = (json.dumps(self._object(*pair), ensure_ascii=False, default=str) + "\n" for pair in pairs)
            return "".join(lines).encode(errors="backslashreplace")  # an id may hold half a character
        keyed = self.keyed
        records = [[row.number, *([row.key] if keyed else []), *self.task.record(answer)] for row, answer in pairs]
        return _csv(records, escape=self.escape)

    def publish(self, part: Path, final: Path, written: int) -> None:
        """Make the output of a part to which nothing is to be added; what a kill interrupts can be done again.

        Parameters
        ----------
        written : rows in it
        """
        part.replace(final)

    def index_header(self) -> bytes:
        """What stands before the first row of the table beside the output."""
        return _csv([["row", *(["id"] if self.keyed else [])]], escape=self.escape)

    def index(self, rows: Sequence[Row]) -> bytes:
        """The rows of that table: which rows of the input a window's answers are for."""
        return _csv([[row.number, *([row.key] if self.keyed else [])] for row in rows], escape=self.escape)

    def _object(self, row: Row, answer: Any) -> dict[str, Any]:
        # JSON has no infinity and no NaN.
        key = str(row.key) if isinstance(row.key, float) and not math.isfinite(row.key) else row.key
        return {"row": row.number, **({"id": key} if self.keyed else {}), **self.task.fields(answer)}


def broken_header() -> bytes:
    """What stands before the first broken row."""
    return _csv([["row", "line", "reason"]])


def broken_rows(rows: Sequence[Row], *, escape: bool = False) -> bytes:
    """The broken rows of a window, as CSV: their numbers, the lines on which they begin, and what is wrong."""
    return _csv([[row.number, row.line or row.number, row.broken] for row in rows], escape=escape)


def short(value: float) -> str:
    """A number with as many digits as fp32 has: more would only be its rounding."""
    return f"{float(value):.7g}"


def _csv(rows: Sequence[Sequence[Any]], *, escape: bool = False) -> bytes:
    return csv_text(rows, escape=escape).encode(errors="backslashreplace")
