"""One row of an input, and where a reader stands in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Position:
    """How much of an input lies behind a reader: rows, and for files of lines also lines and bytes."""

    row: int = 0
    line: int = 0
    offset: int = 0


@dataclass(slots=True)
class Row:
    """A row of the input.

    number : which row this is, from 1; a header is none
    texts : one for each text column; empty where ``broken``
    key : what the column that ``id=`` names holds
    broken : what is wrong with it; None: nothing
    line : line of the file on which it begins, where that is not ``number``
    """

    number: int
    texts: tuple[str, ...] = ()
    key: Any = None
    broken: str | None = None
    line: int | None = None

    @property
    def where(self) -> str:
        """Where somebody finds it in the file."""
        return f"line {self.number}" if self.line is None else f"row {self.number} (line {self.line})"


def checked(
    number: int, values: Sequence[Any], columns: Sequence[str], key: Any = None, line: int | None = None
) -> Row:
    """A row out of the values of its text columns; broken where one is no text."""
    for column, value in zip(columns, values, strict=True):
        problem = _problem(value)
        if problem:
            return Row(number, key=key, broken=f"{column} {problem}", line=line)
    return Row(number, tuple(value.strip() for value in values), key, line=line)


def _problem(value: Any) -> str | None:
    if value is None:
        return "is missing"
    if not isinstance(value, str):
        return f"holds {type(value).__name__}, not text"
    if not value.strip():
        return "is empty"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half a character (a lone surrogate)"
    return None
