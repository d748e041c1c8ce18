"""Predictions as CSV or JSON lines."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latadj.inference.streams.rows import Row

SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def format_of(output: str) -> str:
    """The format of an output by its suffix; of standard output CSV.

    Raises
    ------
    ValueError
        if the suffix is another one.
    """
    if output == "-":
        return "csv"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"output={output}: expected a name that ends in {', '.join(SUFFIXES)}, or - for standard output"
        )
    return SUFFIXES[suffix]


@dataclass(frozen=True)
class Layout:
    """How predictions are written.

    kind : ``csv`` or ``jsonl``
    labels : names of the classes; empty for a regression
    every : the probability of every class, not only of the likeliest
    keyed : whether rows have an ``id``
    """

    kind: str
    labels: tuple[str, ...]
    every: bool = False
    keyed: bool = False

    def header(self) -> bytes:
        """What stands before the first row."""
        if self.kind == "jsonl":
            return b""
        answer = ["label", "probability"] if self.labels else ["value"]
        all_of_them = [f"probability_{label}" for label in self.labels] if self.every else []
        return _csv([["row", *(["id"] if self.keyed else []), *answer, *all_of_them]])

    def rows(self, rows: Sequence[Row], outputs: np.ndarray) -> bytes:
        """A window's rows.

        Parameters
        ----------
        outputs : (rows, labels) probabilities, or (rows, 1) values
        """
        best = outputs.argmax(axis=1)
        pairs = zip(rows, outputs.astype(np.float64), best, strict=True)
        if self.kind == "jsonl":
            lines = (json.dumps(self._object(*pair), ensure_ascii=False, default=str) + "\n" for pair in pairs)
            return "".join(lines).encode(errors="backslashreplace")  # an id may hold half a character
        return _csv([self._record(*pair) for pair in pairs])

    def _record(self, row: Row, output: np.ndarray, best: int) -> list[Any]:
        keys = [row.number, row.key] if self.keyed else [row.number]
        if not self.labels:
            return [*keys, _short(output[0])]
        every = [_short(one) for one in output] if self.every else []
        return [*keys, self.labels[best], _short(output[best]), *every]

    def _object(self, row: Row, output: np.ndarray, best: int) -> dict[str, Any]:
        # JSON has no infinity and no NaN.
        key = str(row.key) if isinstance(row.key, float) and not math.isfinite(row.key) else row.key
        found: dict[str, Any] = {"row": row.number, **({"id": key} if self.keyed else {})}
        if not self.labels:
            return found | {"value": float(_short(output[0]))}
        found |= {"label": self.labels[best], "probability": float(_short(output[best]))}
        if self.every:
            found["probabilities"] = {name: float(_short(one)) for name, one in zip(self.labels, output, strict=True)}
        return found


def broken_header() -> bytes:
    """What stands before the first broken row."""
    return _csv([["row", "line", "reason"]])


def broken_rows(rows: Sequence[Row]) -> bytes:
    """The broken rows of a window, as CSV: their numbers, the lines on which they begin, and what is wrong."""
    return _csv([[row.number, row.line or row.number, row.broken] for row in rows])


def _short(value: float) -> str:
    # As many digits as fp32 has: more would only be its rounding.
    return f"{value:.7g}"


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")
