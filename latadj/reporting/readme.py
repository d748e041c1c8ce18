"""Writes results into pages: ``python -m latadj.reporting.readme README.md docs/results.md docs/*.json``."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from latadj.reporting.results import bench, comparison, generation, glue, pruning, throughput
from latadj.reporting.results import sweep as result
from latadj.reporting.views import glue as glue_tables
from latadj.reporting.views.bench import bench_overview
from latadj.reporting.views.comparison import comparisons_markdown
from latadj.reporting.views.generation import generation_markdown
from latadj.reporting.views.sweep import markdown, seeds_markdown, summary_markdown
from latadj.utils.files import write_text

# name -> the line before which, and after which, a block stands
MARKS = {
    name: (f"<!-- {name}: made by", f"<!-- /{name} -->")
    for name in ("summary", "results", "newsgroups", "glue", "predict", "bench", "generation", "few-shot", "axformer")
}


def blocks(files: Sequence[Path]) -> dict[str, str]:
    """What is to stand in the pages, by name of its block.

    Sweeps stand under ``results``, the first as a table, then metric and drop of each; the columns of the first that a
    first look needs under ``summary``. Those of long texts stand under ``newsgroups``, those asked by a prompt under
    ``few-shot``; generation tasks under ``generation``, and what other commands and benchmarks wrote under their names;
    comparisons with pruned models under ``axformer``, task by task.
    """
    sweeps: dict[str, list[result.Sweep]] = {"results": [], "newsgroups": []}
    compared: dict[str, list[comparison.Comparison]] = {}
    prompted: list[result.Sweep] = []
    generated: list[str] = []
    rates: list[str] = []
    found: dict[str, str] = {}
    for path in files:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("schema") == bench.SCHEMA:
            found["bench"] = bench_overview(bench.Bench.from_json(data))
        elif data.get("schema") == generation.SCHEMA:
            generated.append(generation_markdown(generation.GenerationSweep.from_json(data)))
        elif data.get("schema") == glue.SCHEMA:
            found["glue"] = glue_tables.markdown(glue.Glue.from_json(data))
        elif data.get("schema") == pruning.SCHEMA:
            compared.setdefault(data["task"], []).append(comparison.Comparison.from_json(data))
        elif data.get("schema") == throughput.SCHEMA:
            rates.append(throughput.markdown(data))
        else:
            sweep = result.Sweep.from_json(data)
            group = "newsgroups" if sweep.task == "newsgroups" else "results"
            (prompted if sweep.config.get("prompt") else sweeps[group]).append(sweep)
    for name, group_sweeps in sweeps.items():
        if group_sweeps:
            several = [seeds_markdown(group_sweeps)] if len(group_sweeps) > 1 else []
            found[name] = "\n".join([markdown(group_sweeps[0]), *several])
    if sweeps["results"]:
        found["summary"] = summary_markdown(sweeps["results"][0])
    if compared:
        found["axformer"] = "\n".join(comparisons_markdown(of_task) for of_task in compared.values())
    if rates:
        found["predict"] = "\n".join(rates)
    if prompted:
        found["few-shot"] = "\n".join(markdown(sweep) for sweep in prompted)
    if generated:
        found["generation"] = "\n".join(generated)
    return found


def with_blocks(pages: Sequence[str], found: dict[str, str]) -> list[str]:
    """Pages of Markdown with what stands between the marks of each block replaced.

    Raises
    ------
    ValueError
        if a block has its marks in no page, or in several.
    """
    written = list(pages)
    for name, block in found.items():
        start, end = MARKS[name]
        between = re.compile(rf"{re.escape(start)}[^\n]*-->\n(.*?){re.escape(end)}", re.DOTALL)
        homes = [place for place, page in enumerate(written) if between.search(page)]
        if len(homes) != 1:
            raise ValueError(f"{len(homes)} pages have lines {start!r} … {end!r} to write between: expected one")
        page = written[homes[0]]
        match = between.search(page)
        assert match is not None
        written[homes[0]] = f"{page[: match.start(1)]}\n{block}\n{page[match.end(1) :]}"
    return written


def main(arguments: Sequence[str]) -> None:
    """Write the results in the ``.json`` files into the ``.md`` pages."""
    pages = [Path(name) for name in arguments if name.endswith(".md")]
    found = blocks([Path(name) for name in arguments if name.endswith(".json")])
    texts = with_blocks([page.read_text(encoding="utf-8") for page in pages], found)
    for page, text in zip(pages, texts, strict=True):
        write_text(page, text)


if __name__ == "__main__":
    main(sys.argv[1:])
