"""Writes results into the README: ``python -m latadj.report.readme README.md docs/bench.json docs/seed-*.json``."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from latadj.files import write_text
from latadj.report import bench, result
from latadj.report.bench_views import bench_overview
from latadj.report.tables import markdown, seeds_markdown

# name -> the line before which, and after which, a block stands
MARKS = {name: (f"<!-- {name}: made by", f"<!-- /{name} -->") for name in ("results", "bench")}


def blocks(files: Sequence[Path]) -> dict[str, str]:
    """What is to stand in the README, by name of its block: sweeps under ``results``, a bench under ``bench``.

    The first sweep comes as a table, then metric and drop of every sweep.
    """
    sweeps, found = [], {}
    for path in files:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("schema") == bench.SCHEMA:
            found["bench"] = bench_overview(bench.Bench.from_json(data))
        else:
            sweeps.append(result.Sweep.from_json(data))
    if sweeps:
        found["results"] = "\n".join([markdown(sweeps[0]), *([seeds_markdown(sweeps)] if len(sweeps) > 1 else [])])
    return found


def with_blocks(readme: str, found: dict[str, str]) -> str:
    """The README with what stands between the marks of each block replaced."""
    for name, block in found.items():
        start, end = MARKS[name]
        match = re.search(rf"{re.escape(start)}[^\n]*-->\n(.*?){re.escape(end)}", readme, re.DOTALL)
        if match is None:
            raise ValueError(f"no lines {start!r} … {end!r} to write between")
        readme = f"{readme[: match.start(1)]}\n{block}\n{readme[match.end(1) :]}"
    return readme


def main(arguments: Sequence[str]) -> None:
    """Write the results in the files named after the README into it."""
    readme = Path(arguments[0])
    found = blocks([Path(name) for name in arguments[1:]])
    write_text(readme, with_blocks(readme.read_text(encoding="utf-8"), found))


if __name__ == "__main__":
    main(sys.argv[1:])
