"""Small pieces that sections of a report are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from latadj.reporting.html.page import text
from latadj.reporting.results.sweep import Measured

Item = TypeVar("Item")


@dataclass(frozen=True)
class Section:
    """A part of the page; ``name`` is its anchor, ``body`` HTML."""

    name: str
    title: str
    body: str

    def html(self) -> str:
        return f'<section class="card" id="{self.name}"><h2>{text(self.title)}</h2>\n{self.body}\n</section>'


def note(said: str) -> str:
    """A paragraph in a small voice."""
    return f'<p class="note">{text(said)}</p>'


def missing(what: str, command: str) -> str:
    """What stands where there is nothing to show."""
    return f'<p class="note missing">{text(what)} Run <code>{text(command)}</code> with the same options.</p>'


def tile(name: str, value: str, said: str) -> str:
    """One headline number."""
    return (
        f'<div class="tile"><p class="tile-name">{text(name)}</p><p class="tile-value">{text(value)}</p>'
        f'<p class="note">{text(said)}</p></div>'
    )


def times(value: float | None) -> str:
    """A speedup; empty where there is none."""
    return "" if value is None else f"{value:.2f}x"


def ends(ci: tuple[float, float] | None, form: str = ".2f", mark: str = "–") -> str:
    """An interval; empty where there is none."""
    return "" if ci is None else f"{ci[0]:{form}}{mark}{ci[1]:{form}}"


def speed(measured: Measured | None) -> str:
    """A measured speedup as it is written; nothing for None."""
    return times(measured.speedup if measured else None)


def between(measured: Measured | None) -> str:
    """Its 95% interval."""
    return ends(measured.ci if measured else None)


def minus(said: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return said.replace("-", "−")


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
