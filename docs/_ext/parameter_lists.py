"""Sphinx extension: turns the short parameter lists of our docstrings into numpydoc's.

Our docstrings say ``name : what it is`` on one line, and leave the types to the annotations. numpydoc reads what
follows the colon as a type. A dataclass lists its fields without a heading. Both become numpydoc sections here, before
napoleon reads them.
"""

import re
from typing import Any

from sphinx.application import Sphinx

ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*) : (.+)$")
HEADING = ["Parameters", "----------"]


def as_numpydoc(lines: list[str]) -> list[str]:
    """The lines of a docstring with every list of ``name : text`` as a numpydoc section."""
    result: list[str] = []
    for block in _paragraphs(lines):
        if block[:2] == HEADING:
            result += [*HEADING, *_entries(block[2:])]
        elif len(block) > 1 and set(block[1]) == {"-"}:  # another section
            result += block
        elif ENTRY.match(block[0]):
            result += [*HEADING, *_entries(block)]
        else:
            result += ["", *block]  # two blank lines end the section before it
        result.append("")
    return result


def _paragraphs(lines: list[str]) -> list[list[str]]:
    """The lines between blank ones."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _entries(lines: list[str]) -> list[str]:
    """Each ``name : text`` with its text, and what goes on with it, indented below the name."""
    result: list[str] = []
    for line in lines:
        entry = ENTRY.match(line)
        result += [entry[1], f"    {entry[2]}"] if entry else [f"    {line.strip()}"]
    return result


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite one docstring in place."""
    lines[:] = as_numpydoc(lines)
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)  # napoleon takes what stands before a colon for the type


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
