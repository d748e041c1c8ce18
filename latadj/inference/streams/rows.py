"""One row of an input, the columns that hold its text, and where a reader stands in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from latadj.utils.serialization import NOT_NEGATIVE

# What a model does with a text, see `ColumnOptions`; and how long one may be that is not cut.
CUT, WORDS, WHOLE = "cut", "words", "whole"
MOST_CHARACTERS = 2**20

Place = Annotated[int, NOT_NEGATIVE]
# What stands between the columns of files that are called .csv and are none.
SEPARATORS = (";", "\t", "|")


class RowCounts(TypedDict):
    """How many rows of an input were read, and what became of them."""

    read: Place
    written: Place
    broken: Place


@dataclass(frozen=True)
class StreamPosition:
    """How much of an input lies behind a reader: rows, and for files of lines also lines and bytes."""

    row: Place = 0
    line: Place = 0
    offset: Place = 0


@dataclass(slots=True)
class Row:
    """A row of the input.

    number : which row this is, from 1; a header is none
    texts : one for each text column; empty where ``broken``
    key : what the column that ``id=`` names holds
    broken : what is wrong with it; None: nothing
    line : line of the file on which it begins, where that is not ``number``
    record : all that the row holds, where it is kept: of plain text the line, of a table its fields, of JSON the
        object, of Parquet a batch and a place in it
    """

    number: int
    texts: tuple[str, ...] = ()
    key: Any = None
    broken: str | None = None
    line: int | None = None
    record: Any = None

    @property
    def where(self) -> str:
        """Where somebody finds it in the file."""
        return f"line {self.number}" if self.line is None else f"row {self.number} (line {self.line})"


def checked(
    number: int,
    values: Sequence[Any],
    columns: Sequence[str],
    key: Any = None,
    line: int | None = None,
    *,
    reads: str = CUT,
) -> Row:
    """A row out of the values of its text columns; broken where one is no text.

    Parameters
    ----------
    reads : see :class:`ColumnOptions`
    """
    texts = []
    for column, value in zip(columns, values, strict=True):
        problem = _problem(value, reads)
        if problem:
            return Row(number, key=key, broken=f"{column} {problem}", line=line)
        text = " ".join(value) if isinstance(value, list) else value
        texts.append(text if reads == WHOLE else text.strip())
    return Row(number, tuple(texts), key, line=line)


def _problem(value: Any, reads: str) -> str | None:
    if value is None:
        return "is missing"
    if isinstance(value, list) and reads == WORDS:
        return _words_problem(value)
    if not isinstance(value, str):
        return f"holds {type(value).__name__}, not text"
    if not value.strip():
        return "is empty"
    if reads != CUT and len(value) > MOST_CHARACTERS:
        return f"has {len(value):,} characters, and {MOST_CHARACTERS:,} are read of a text at most: divide it"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half a character (a lone surrogate)"
    return None


def _words_problem(words: list[Any]) -> str | None:
    for number, word in enumerate(words, start=1):
        problem = _problem(word, CUT)
        if problem is None and word.split() != [word]:
            problem = "holds a blank: words are given one by one"
        if problem:
            return f"word {number} {problem}"
    return _problem(" ".join(words), WORDS)


@dataclass(frozen=True)
class ColumnOptions:
    """What a user and a checkpoint say of an input's columns.

    text : ``text=``; empty: find them
    trained : those of the task that the model was fine-tuned for; empty where nobody knows
    key : ``id=``
    reads : what the model does with a text: ``cut`` it to its first tokens, tag its ``words`` (which may be a list), or
        cut answers out of the ``whole``, blanks at its ends among it
    keep : whether rows keep all that they hold
    """

    text: Sequence[str] = ()
    trained: Sequence[str] = ()
    key: str | None = None
    reads: str = CUT
    keep: bool = False

    def text_columns(self, columns: Sequence[str], name: str, textual: Sequence[str] | None = None) -> tuple[str, ...]:
        """The columns that hold the text.

        Parameters
        ----------
        columns : of the input
        name : of the input, for messages
        textual : those of ``columns`` that can hold a text; None: any

        Raises
        ------
        ValueError
            if one is missing, there are too many or too few, or none can be guessed.
        """
        if self.key is not None and self.key not in columns:
            raise ValueError(f"id={self.key}: {name} has no such column; there are {_listed(columns)}")
        chosen = self._chosen(columns, name, textual)
        wanted = [*chosen, *([self.key] if self.key is not None else [])]
        if twice := [column for column in wanted if list(columns).count(column) > 1]:
            raise ValueError(f"{name}: there are several columns {twice[0]!r}: rename the others")
        return chosen

    def _chosen(self, columns: Sequence[str], name: str, textual: Sequence[str] | None) -> tuple[str, ...]:
        """As :meth:`text_columns`, of columns that may stand there twice."""
        needed = len(self.trained) or None
        if self.text:
            missing = [column for column in self.text if column not in columns]
            if missing:
                raise ValueError(f"{name}: column {missing[0]!r} is missing; there are {_listed(columns)}")
            if needed and len(self.text) != needed:
                raise ValueError(
                    f"text={_bracketed(self.text)}: this model reads {needed} text column{'s' * (needed > 1)} "
                    f"({', '.join(self.trained)}), not {len(self.text)}"
                )
            return tuple(self.text)
        if self.trained and all(column in columns for column in self.trained):
            return tuple(self.trained)
        possible = textual if self.trained and textual is not None else columns
        if needed in (None, 1) and len(possible) == 1:
            if textual is None and (sign := next((sign for sign in SEPARATORS if sign in possible[0]), None)):
                raise ValueError(
                    f"{name}: its only column is {possible[0]!r}: a CSV file has commas between columns, not {sign!r}; "
                    "write it with commas, or a tab-separated one as .tsv, or say text=COLUMN if this is its name"
                )
            return tuple(possible)
        example = _bracketed(["COLUMN"] * (needed or 1))
        was = f"; the model was fine-tuned on {', '.join(self.trained)}" if self.trained else ""
        raise ValueError(f"{name}: which column holds the text? There are {_listed(possible)}{was}: say text={example}")


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    return (", ".join(map(str, columns[:12])) or "none") + more


def _bracketed(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else "[" + ",".join(columns) + "]"
