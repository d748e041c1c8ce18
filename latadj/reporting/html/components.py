"""Small pieces that sections of a report are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from markupsafe import Markup

from latadj.reporting.html.page import table
from latadj.reporting.results.sweep import Measured
from latadj.reporting.table import Table

Item = TypeVar("Item")


@dataclass(frozen=True)
class Section:
    """A part of the page; ``name`` is its anchor."""

    name: str
    title: str
    body: Markup


def html_table(shown: Table, most: int = 3) -> Markup:
    """A table of a result, its title as the caption, without columns of a priority above ``most``."""
    columns = [column for column in shown.shown if column.priority <= most]
    rows = [[column.text(row) if column.left else minus(column.text(row)) for column in columns] for row in shown.rows]
    numbers = [place for place, column in enumerate(columns) if not column.left]
    return table([column.name for column in columns], rows, numbers=numbers, caption=shown.title)


def times(value: float | None) -> str:
    """A speedup; empty where there is none."""
    return "" if value is None else f"{value:.2f}x"


def between(measured: Measured | None) -> str:
    """Its 95% interval."""
    return f"{measured.ci[0]:.2f}–{measured.ci[1]:.2f}" if measured else ""


def minus(text: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return text.replace("-", "−")


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, spread evenly, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def flat(config: dict[str, Any], before: str = "") -> dict[str, str]:
    """A nested config as ``task.name`` -> value."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = "null" if value is None else str(value)
    return found
