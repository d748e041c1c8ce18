"""CSV with a line feed after each row, in which a carriage return inside a field is quoted like a line feed."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Python quotes the characters of the line terminator, and no other line break but "\n".
_END = "\r\n"
# What a cell begins with that a spreadsheet computes, or that hides such a character from a check.
_RUN = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class _Rows(io.StringIO):
    """Takes one row a call, as ``csv`` writes them."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix(_END) + "\n")


def escaped(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula with an apostrophe before it; all else as it is.

    A number stays one, also where it is written with a sign.
    """
    if not isinstance(value, str) or not value.startswith(_RUN) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def csv_text(rows: Iterable[Sequence[Any]], *, escape: bool = False) -> str:
    """Rows as CSV.

    Parameters
    ----------
    escape : pass every value through :func:`escaped`
    """
    out = _Rows(newline="")
    csv.writer(out, lineterminator=_END).writerows([list(map(escaped, row)) for row in rows] if escape else rows)
    return out.getvalue()


def frame_csv(frame: "pd.DataFrame", *, escape: bool = False) -> str:
    """A table as CSV, without its index; ``escape`` as in :func:`csv_text`."""
    out = _Rows(newline="")
    frame = frame.map(escaped).rename(columns=escaped) if escape else frame
    frame.to_csv(out, index=False, lineterminator=_END)
    return out.getvalue()
