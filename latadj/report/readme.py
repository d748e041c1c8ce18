"""Writes the results of sweeps into the README: ``python -m latadj.report.readme README.md docs/seed-*.json``."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from latadj.files import write_text
from latadj.report.result import Sweep
from latadj.report.tables import markdown, seeds_markdown

START, END = "<!-- results: made by", "<!-- /results -->"


def results(sweeps: Sequence[Sweep]) -> str:
    """The results as Markdown: the first sweep's table, then accuracy and drop of every seed."""
    parts = [markdown(sweeps[0])]
    if len(sweeps) > 1:
        parts.append(seeds_markdown(sweeps))
    return "\n".join(parts)


def read_sweep(path: Path) -> Sweep:
    """A sweep out of its JSON file."""
    return Sweep.from_json(json.loads(path.read_text(encoding="utf-8")))


def with_results(readme: str, block: str) -> str:
    """The README with what stands between its result marks replaced."""
    pattern = re.compile(rf"({re.escape(START)}[^\n]*-->\n).*?({re.escape(END)})", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"no lines {START!r} … {END!r} to write between")
    return pattern.sub(lambda match: f"{match[1]}\n{block}\n{match[2]}", readme)


def main(arguments: Sequence[str]) -> None:
    """Write the results of the sweeps named after the README into it."""
    readme = Path(arguments[0])
    block = results([read_sweep(Path(name)) for name in arguments[1:]])
    write_text(readme, with_results(readme.read_text(encoding="utf-8"), block))


if __name__ == "__main__":
    main(sys.argv[1:])
