"""One self-contained HTML page: no server, no network, readable on a phone and in the dark."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from latadj.reporting.table import Table

_HERE = Path(__file__).parent
MOST_CHARACTERS = 700  # of an example
# Nothing may be fetched, sent or embedded: what the page shows is in the page.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["shortened"] = lambda text: (
    text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].rstrip() + " …"
)
_parts: Any = _templates.get_template("parts.html").module


def page(
    title: str, body: Markup, *, style: str = "", script: str = "", data: Any = None, asks_its_server: bool = False
) -> str:
    """A whole HTML document.

    The page's colours and measures are CSS custom properties (``page.css``): ``style`` and inline SVG take theirs
    from them, and so follow the reader's light or dark scheme.

    Parameters
    ----------
    title : plain text of the browser's title bar; the body has its own ``<h1>``
    style : CSS behind the shared one
    script : JavaScript, run after the body and the data are there
    asks_its_server : let the script ask the server that the page comes from, and nobody else
    data : what the script reads with ``JSON.parse(document.getElementById("data").textContent)``; None for nothing

    Raises
    ------
    ValueError
        if the data holds NaN or infinity, which JSON has not.
    """
    return render(
        "page.html",
        policy=_POLICY + ("; connect-src 'self'" if asks_its_server else ""),
        title=title,
        style=Markup(static("page.css") + _closed(style, "style")),
        body=body,
        data=None if data is None else island(data),
        script=Markup(_closed(script, "script")),
    )


def render(template: str, **values: Any) -> Markup:
    """A template filled in; values that are not ``Markup`` are escaped."""
    return Markup(_templates.get_template(template).render(values))


def static(name: str) -> str:
    """CSS or JavaScript of ours."""
    return (_HERE / "static" / name).read_text(encoding="utf-8")


def text(value: object) -> Markup:
    """Plain text as HTML, inside elements and quoted attributes."""
    return escape(str(value))


def island(data: Any) -> Markup:
    """JSON that can stand in a ``<script>`` element, whatever strings it holds.

    Raises
    ------
    ValueError
        if it holds NaN or infinity.
    """
    written = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":  # `</script` and `<!--` would end it, line separators break older parsers
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int] = (), caption: str = ""
) -> Markup:
    """A table of plain text that scrolls inside its own box where the screen is narrow.

    Parameters
    ----------
    numbers : columns that are numbers, and so stand to the right
    """
    return _parts.table(head, rows, numbers, caption)


def facts(pairs: dict[str, str]) -> Markup:
    """Names and what they are, as a list of two columns."""
    return _parts.facts(pairs)


def note(text: str) -> Markup:
    """A paragraph in a small voice."""
    return _parts.note(text)


def missing(what: str, command: str) -> Markup:
    """What stands where there is nothing to show."""
    return _parts.missing(what, command)


def tile(name: str, value: str, text: str) -> Markup:
    """One headline number."""
    return _parts.tile(name, value, text)


def details(summary: str, body: Markup) -> Markup:
    """A part that opens on demand."""
    return _parts.details(summary, body)


def _closed(source: str, element: str) -> str:
    """CSS or JavaScript of ours, which must not end the element that it stands in.

    Raises
    ------
    ValueError
        if it would.
    """
    if f"</{element}" in source.lower():
        raise ValueError(f"this {element} would end its own element: write </{element} another way")
    return source


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
    values: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            values |= flat(value, f"{before}{key}.")
        else:
            values[f"{before}{key}"] = "null" if value is None else str(value)
    return values
