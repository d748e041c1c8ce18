"""Writes results into pages: ``python -m latadj.reporting.readme README.md docs/results.md docs/*.json``."""

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latadj.reporting.results import predict_benchmark
from latadj.reporting.results.base import Result
from latadj.reporting.results.bench import Bench
from latadj.reporting.results.comparison import Comparison, markdown_of_task
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.glue import Glue
from latadj.reporting.results.sweep import Sweep, seeds
from latadj.utils.files import read_json, write_text

# name -> the line before which, and after which, a block stands
MARKS = {
    name: (f"<!-- {name}: made by", f"<!-- /{name} -->")
    for name in ("summary", "results", "newsgroups", "glue", "predict", "bench", "generation", "few-shot", "axformer")
}


RESULTS: dict[str, type[Result]] = {kind.SCHEMA: kind for kind in (Bench, Comparison, GenerationSweep, Glue, Sweep)}


def blocks(files: Sequence[Path]) -> dict[str, str]:
    """What is to stand in the pages, by name of its block.

    Sweeps stand under ``results``, the first as a table, then metric and drop of each; those of long texts under
    ``newsgroups``, prompted ones under ``few-shot``; generation tasks under ``generation``, and what other commands
    and benchmarks wrote under their names; comparisons with pruned models under ``axformer``, task by task.
    """
    parts: dict[str, list[str]] = defaultdict(list)
    sweeps: dict[str, list[Sweep]] = defaultdict(list)
    comparisons: dict[str, list[Comparison]] = defaultdict(list)
    measured: dict[str, list[str]] = defaultdict(list)
    for path in files:
        data = read_json(path, "result", "measure it again")
        stamp = _stamp(data)
        if data.get("schema") == predict_benchmark.SCHEMA:
            parts["predict"].append(predict_benchmark.document(data).markdown())
            measured["predict"].append(stamp)
            continue
        if data.get("schema") not in RESULTS:
            raise ValueError(f"{path}: schema {data.get('schema')!r}, expected one of {', '.join(RESULTS)}")
        result = RESULTS[data["schema"]].from_json(data)
        if isinstance(result, Bench):
            name = "bench"
            parts[name].append(result.overview().markdown())
        elif isinstance(result, Comparison):
            name = "axformer"
            comparisons[result.task].append(result)
        elif isinstance(result, Sweep) and not result.config.get("prompt"):
            name = "newsgroups" if result.task == "newsgroups" else "results"
            sweeps[name].append(result)
        else:
            name = {GenerationSweep: "generation", Glue: "glue"}.get(type(result), "few-shot")
            parts[name].append(result.document().markdown())
        measured[name].append(stamp)
    for name, group in sweeps.items():
        parts[name].append(group[0].document().markdown())
        if len(group) > 1:
            parts[name].append(seeds(group).markdown())
    if sweeps["results"]:
        parts["summary"].append(sweeps["results"][0].summary().markdown())
    parts["axformer"] += map(markdown_of_task, comparisons.values())
    for name, stamps in measured.items():
        parts[name].append(f"Measured at {', '.join(dict.fromkeys(stamps))}.\n")
    return {name: "\n".join(texts) for name, texts in parts.items() if texts}


def _stamp(data: dict[str, Any]) -> str:
    """The commit and the day at which a result was measured."""
    environment = data["environment"]
    return f"commit {environment['commit']} on {environment['time'][:10]}"


def with_blocks(pages: Sequence[str], texts: dict[str, str]) -> list[str]:
    """Pages of Markdown with what stands between the marks of each block replaced.

    Raises
    ------
    ValueError
        if a block has its marks in no page, or in several.
    """
    written = list(pages)
    for name, block in texts.items():
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
    made = blocks([Path(name) for name in arguments if name.endswith(".json")])
    texts = with_blocks([page.read_text(encoding="utf-8") for page in pages], made)
    for page, text in zip(pages, texts, strict=True):
        write_text(page, text)


if __name__ == "__main__":
    main(sys.argv[1:])
