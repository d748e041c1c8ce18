"""Sphinx extension: the options of every command, read from the package when the site is built.

The directive ``option-reference`` writes one section per command, each with a table of key, type, default and help.
With a command as its argument it writes that command's table only.
"""

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

COLUMNS = (("Option", 30), ("Type", 14), ("Default", 20), ("What it does", 36))
CODE = re.compile(r"(``.+?``|`.+?`)")


def inline(text: str) -> Iterator[nodes.Node]:
    """Text with its backquoted parts as code."""
    for part in CODE.split(text):
        if CODE.fullmatch(part):
            yield nodes.literal(text=part.strip("`"))
        elif part:
            yield nodes.Text(part)


def table(options: list[Any]) -> nodes.table:
    """One row per option."""
    group = nodes.tgroup(cols=len(COLUMNS))
    group += [nodes.colspec(colwidth=width) for _, width in COLUMNS]
    head = nodes.row()
    head += [nodes.entry("", nodes.paragraph(text=title)) for title, _ in COLUMNS]
    group += nodes.thead("", head)
    body = nodes.tbody()
    for option in options:
        cells: list[list[nodes.Node]] = [
            [nodes.literal(text=option.key)],
            [nodes.Text(option.type)],
            [nodes.literal(text=option.default)] if option.default else [],
            list(inline(option.help)),
        ]
        row = nodes.row()
        row += [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells]
        body += row
    group += body
    return nodes.table("", group, classes=["options"])


class OptionReference(SphinxDirective):
    """``option-reference`` [COMMAND]."""

    optional_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        # Imported here, so that an error names the page.
        from latadj.config.reference import COMMANDS, options

        if self.arguments:
            return [table(options(self.arguments[0]))]
        sections: list[nodes.Node] = []
        for command in COMMANDS:
            section = nodes.section(ids=[f"options-{command}"], names=[f"options-{command}"])
            section += nodes.title("", "", nodes.literal(text=f"latadj {command}"))
            section += table(options(command))
            self.state.document.note_explicit_target(section)
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("option-reference", OptionReference)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
