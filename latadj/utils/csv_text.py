"""CSV with a line feed after each row, in which a carriage return inside a field is quoted like a line feed."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Python quotes the characters of the line terminator, and no other line break but "\n".
_END = "\r\n"


class _Rows(io.StringIO):
    """Takes one row a call, as ``csv`` writes them."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix(_END) + "\n")


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV."""
    out = _Rows(newline="")
    csv.writer(out, lineterminator=_END).writerows(rows)
    return out.getvalue()


def frame_csv(frame: "pd.DataFrame") -> str:
    """A table as CSV, without its index."""
    out = _Rows(newline="")
    frame.to_csv(out, index=False, lineterminator=_END)
    return out.getvalue()
