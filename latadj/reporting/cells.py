"""Cells and lines of tables, and pictures in files, as all reports write them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latadj.utils.files import atomic_write


def table_line(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def times(value: float | None) -> str:
    """A speedup; empty where there is none."""
    return "" if value is None else f"{value:.2f}x"


def between(ci: tuple[float, float] | None, form: str = ".2f", mark: str = "–") -> str:
    """An interval; empty where there is none."""
    return "" if ci is None else f"{ci[0]:{form}}{mark}{ci[1]:{form}}"


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib, whole or not at all."""
    figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary)
