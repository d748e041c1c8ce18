"""One self-contained HTML page: no server, no network, readable on a phone and in the dark."""

import json
from html import escape
from pathlib import Path
from typing import Any

_STYLE = Path(__file__).with_name("page.css")
# Nothing may be fetched, sent or embedded: what the page shows is in the page.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def page(title: str, body: str, *, style: str = "", script: str = "", data: Any = None) -> str:
    """A whole HTML document.

    The page's colours and measures are CSS custom properties (``page.css``): ``style`` and inline SVG take theirs
    from them, and so follow the reader's light or dark scheme.

    Parameters
    ----------
    title : plain text of the browser's title bar; the body has its own ``<h1>``
    body : HTML, with all text in it through :func:`text`
    style : CSS behind the shared one
    script : JavaScript, run after the body and the data are there
    data : what the script reads with ``JSON.parse(document.getElementById("data").textContent)``; None for nothing

    Raises
    ------
    ValueError
        if the data holds NaN or infinity, which JSON has not.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{text(title)}</title>",
        '<link rel="icon" href="data:,">',  # or a browser asks the server for one
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}{_closed(style, 'style')}\n</style>",
        "</head>",
        "<body>",
        f"<main>\n{body}\n</main>",
    ]
    if data is not None:
        parts.append(f'<script type="application/json" id="data">{island(data)}</script>')
    if script:
        parts.append(f"<script>\n{_closed(script, 'script')}\n</script>")
    return "\n".join([*parts, "</body>", "</html>", ""])


def text(value: object) -> str:
    """Plain text as HTML, inside elements and quoted attributes."""
    return escape(str(value), quote=True)


def island(data: Any) -> str:
    """JSON that can stand in a ``<script>`` element, whatever strings it holds.

    Raises
    ------
    ValueError
        if it holds NaN or infinity.
    """
    written = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":  # `</script` and `<!--` would end it, line separators break older parsers
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def table(
    head: list[str], rows: list[list[str]], *, numbers: frozenset[int] | set[int] = frozenset(), caption: str = ""
) -> str:
    """A table of plain text that scrolls inside its own box where the screen is narrow.

    Parameters
    ----------
    numbers : columns that are numbers, and so stand to the right
    """

    def cell(tag: str, column: int, value: str) -> str:
        kind = ' class="number"' if column in numbers else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{kind}{scope}>{text(value)}</{tag}>"

    def line(tag: str, values: list[str]) -> str:
        return "<tr>" + "".join(cell(tag, column, value) for column, value in enumerate(values)) + "</tr>"

    named = f"<caption>{text(caption)}</caption>" if caption else ""
    label = f' role="region" aria-label="{text(caption)}"' if caption else ""
    return (
        f'<div class="scroll" tabindex="0"{label}><table>{named}<thead>{line("th", head)}</thead><tbody>'
        + "".join(line("td", row) for row in rows)
        + "</tbody></table></div>"
    )


def facts(pairs: dict[str, str]) -> str:
    """Names and what they are, as a list of two columns."""
    return '<dl class="facts">' + "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in pairs.items()) + "</dl>"


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
