"""Tables: declared once by columns, written for a terminal, Markdown, CSV, LaTeX and a web page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table as RichTable

from latadj.utils.console import console
from latadj.utils.csv_text import csv_text
from latadj.utils.readable import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
}
FOLDED = 20  # characters that a column of text needs; what is longer goes on in the next line


@dataclass(frozen=True)
class Column:
    """A column of a table.

    name : heading
    get : the row's value; None where there is none
    form : how a value is written, or a function that writes it
    scale : factor of the value as it is written
    between : set for intervals (low, high): what is written between the ends
    key : name in CSV, where numbers are unrounded; an interval's ends are ``key_low`` and ``key_high``; "" = not there
    shown : whether it is more than a column of the CSV
    left : whether it is text and starts at the left
    priority : where a terminal is narrow, columns of the largest are left out first; 0 = never
    """

    name: str
    get: Callable[[Any], Any]
    form: str | Callable[[Any], str] = "{}"
    scale: float = 1.0
    between: str = ""
    key: str = ""
    shown: bool = True
    left: bool = False
    priority: int = 0

    def text(self, row: Any) -> str:
        """The cell as it is written; empty where there is no value."""
        value = self.get(row)
        if value is None:
            return ""
        return self.between.join(map(self._written, value)) if self.between else self._written(value)

    def _written(self, value: Any) -> str:
        scaled = value if self.scale == 1.0 else self.scale * value
        return self.form.format(scaled) if isinstance(self.form, str) else self.form(scaled)

    @property
    def keys(self) -> list[str]:
        """Names of its columns in CSV."""
        return [f"{self.key}_low", f"{self.key}_high"] if self.between else [self.key]

    def values(self, row: Any) -> list[Any]:
        """What stands in them; empty where there is no value."""
        value = self.get(row)
        if value is None:
            return [""] * len(self.keys)
        return list(value) if self.between else [value]


def interval(key: str, get: Callable[[Any], Any], form: str = "{:.2f}", between: str = "–", **options: Any) -> Column:
    """The column of a 95% interval of what stands before it."""
    return Column("95%", get, form, between=between, key=key, **{"priority": 3, **options})


def speedup(name: str, get: Callable[[Any], Any], **options: Any) -> Column:
    """A column of speedups, such as 1.98x."""
    return Column(name, get, "{:.2f}x", **options)


def entry(name: str, key: str) -> Callable[[Any], Any]:
    """A column's value that is an entry of the row's dictionary ``name``."""
    return lambda row: getattr(row, name).get(key)


@dataclass
class Table:
    """Rows of anything, and the columns that show them.

    title : a heading; with ``heading=False`` an ordinary line before the table
    note : a line under it
    show_header : whether the columns' names are shown on a terminal
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    note: str = ""
    heading: bool = True
    show_header: bool = True

    @classmethod
    def of_cells(
        cls, title: str, header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1, **options: Any
    ) -> "Table":
        """A table of text; the first ``left`` columns start at the left."""
        columns = [Column(name, itemgetter(place), left=place < left) for place, name in enumerate(header)]
        return cls(title, columns, list(rows), **options)

    @property
    def shown(self) -> list[Column]:
        """The columns that are more than CSV's."""
        return [column for column in self.columns if column.shown]

    def cells(self) -> list[list[str]]:
        """The rows as they are written."""
        return [[column.text(row) for column in self.shown] for row in self.rows]

    def fitted(self, width: int) -> RichTable:
        """For a terminal: close, then without columns that can be missed, where it would be wider than ``width``."""
        columns = self.shown
        gap = 2 if self._width(columns, 2) <= width else 1
        for most in sorted({column.priority for column in columns if column.priority}, reverse=True):
            if self._width(columns, gap) > width:
                columns = [column for column in columns if column.priority < most]
        table = RichTable(
            title=_shown(self.title) or None,
            title_justify="left",
            box=SIMPLE_HEAD if self.show_header else None,
            show_header=self.show_header,
            pad_edge=False,
            collapse_padding=True,
            padding=(0, gap - 1 if self.show_header else 2),  # without a box nothing else stands between columns
        )
        for column in columns:
            if column.left:
                table.add_column(_shown(column.name), overflow="fold")
            else:
                table.add_column(_shown(column.name), justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(_shown(column.text(row)) for column in columns))
        return table

    def _width(self, columns: Sequence[Column], gap: int) -> int:
        """Characters that a line takes; text at the left may be folded."""
        widths = [max(map(cell_len, [column.name, *map(column.text, self.rows)])) for column in columns]
        folded = [min(width, FOLDED) if column.left else width for width, column in zip(widths, columns, strict=True)]
        return sum(folded) + gap * (len(columns) - 1) + 2  # an edge at each side

    def markdown(self) -> str:
        """A heading, the table and its note."""
        title = [f"### {self.title}" if self.heading else self.title, ""] if self.title else []
        rule = "|" + "|".join(" :--- " if column.left else " ---: " for column in self.shown) + "|"
        lines = [_line(column.name for column in self.shown), rule, *map(_line, self.cells())]
        return "\n".join([*title, *lines, "", *([self.note, ""] if self.note else [])])

    def csv(self) -> str:
        """The columns that have a key, numbers unrounded."""
        columns = [column for column in self.columns if column.key]
        keys = [key for column in columns for key in column.keys]
        rows = [[value for column in columns for value in column.values(row)] for row in self.rows]
        return csv_text([keys, *rows])

    def latex(self) -> str:
        """For a document that loads booktabs."""
        lines = [" & ".join(map(_escaped, cells)) + r" \\" for cells in [[c.name for c in self.shown], *self.cells()]]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_escaped(self.title)}}}",
                rf"\begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in self.shown)}}}",
                *(r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"),
                r"\end{tabular}",
                r"\end{table}",
            ]
        )


@dataclass
class Document:
    """Tables of one result, and what has to be known to read them."""

    tables: Sequence[Table]
    notes: Sequence[str] = field(default_factory=list)

    def print(self) -> None:
        """Show it on the terminal."""
        for table in self.tables:
            console.print(table.fitted(console.width))
            if table.note:
                console.print(printable(table.note), highlight=False, markup=False)
        for note in self.notes:
            console.print(printable(note), highlight=False, markup=False)

    def markdown(self) -> str:
        """The tables, then the notes as a list."""
        notes = ["".join(f"- {note}\n" for note in self.notes)] if self.notes else []
        return "\n".join([*(table.markdown() for table in self.tables), *notes])

    def latex(self) -> str:
        """The tables, then the notes as comments."""
        notes = [f"% {note}" for note in self.notes]
        return "\n\n".join([r"% \usepackage{booktabs}", *(table.latex() for table in self.tables), *notes]) + "\n"


def _shown(text: str) -> str:
    """Text for a terminal, where brackets are no markup."""
    return escape(printable(text, keep="\n"))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
