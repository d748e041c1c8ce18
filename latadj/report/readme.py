"""Writes results into the README: ``python -m latadj.report.readme README.md docs/*.json``."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from latadj.files import write_text
from latadj.report import bench, generation, result
from latadj.report.bench_views import bench_overview
from latadj.report.generation_views import generation_markdown
from latadj.report.tables import markdown, seeds_markdown

# name -> the line before which, and after which, a block stands
MARKS = {
    name: (f"<!-- {name}: made by", f"<!-- /{name} -->") for name in ("results", "bench", "generation", "few-shot")
}


def blocks(files: Sequence[Path]) -> dict[str, str]:
    """What is to stand in the README, by name of its block.

    Sweeps stand under ``results``, the first as a table, then metric and drop of each; those asked by a prompt under
    ``few-shot``, generation tasks under ``generation``, a bench under ``bench``.
    """
    sweeps: list[result.Sweep] = []
    prompted: list[result.Sweep] = []
    generated: list[str] = []
    found: dict[str, str] = {}
    for path in files:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("schema") == bench.SCHEMA:
            found["bench"] = bench_overview(bench.Bench.from_json(data))
        elif data.get("schema") == generation.SCHEMA:
            generated.append(generation_markdown(generation.GenerationSweep.from_json(data)))
        else:
            sweep = result.Sweep.from_json(data)
            (prompted if sweep.config.get("prompt") else sweeps).append(sweep)
    if sweeps:
        found["results"] = "\n".join([markdown(sweeps[0]), *([seeds_markdown(sweeps)] if len(sweeps) > 1 else [])])
    if prompted:
        found["few-shot"] = "\n".join(markdown(sweep) for sweep in prompted)
    if generated:
        found["generation"] = "\n".join(generated)
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
