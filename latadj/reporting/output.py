"""Writes results into a run's folder, and shows them on the terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from latadj.reporting.results.base import Result
from latadj.reporting.results.bench import Bench
from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.glue import Glue
from latadj.reporting.results.info import Info
from latadj.reporting.results.pruning import PruneResult
from latadj.reporting.results.sweep import Sweep
from latadj.reporting.table import Document, Table
from latadj.reporting.tables import bench, comparison, generation, glue, info, pruning, sweep
from latadj.utils.files import write_json, write_text


@dataclass(frozen=True)
class Format:
    """How a kind of result is shown.

    name : of its files
    document : tables and notes
    terminal : the same for a terminal; None: as they are
    csv : one table of it, in which numbers are unrounded; None: no such file
    markdown, latex : whether it has such a file
    plot : ``module.function`` in ``plots`` that draws its picture, imported when it is drawn; "" for none
    """

    name: str
    document: Callable[[Any], Document]
    terminal: Callable[[Any], Document] | None = None
    csv: Callable[[Any], Table] | None = None
    markdown: bool = True
    latex: bool = False
    plot: str = ""


def _only_table(document: Callable[[Any], Document], result: Any) -> Table:
    (table,) = document(result).tables
    return table


FORMATS: dict[type[Result], Format] = {
    Bench: Format("bench", bench.document, csv=bench.all_cells, plot="bench.plot_bench"),
    Comparison: Format(
        "comparison",
        comparison.document,
        comparison.terminal,
        csv=partial(_only_table, comparison.document),
        plot="comparison.plot_comparison",
    ),
    GenerationSweep: Format(
        "sweep",
        generation.document,
        generation.terminal,
        csv=partial(_only_table, generation.document),
        plot="sweep.plot_generation",
    ),
    Glue: Format("glue", glue.document, csv=glue.csv_table, latex=True),
    Info: Format("info", info.document),
    PruneResult: Format("prune", pruning.document, markdown=False, plot="pruning.plot_structure"),
    Sweep: Format("sweep", sweep.document, csv=partial(_only_table, sweep.document), plot="sweep.plot_sweep"),
}


def write(result: Result, folder: Path) -> str:
    """Write a result as NAME.json, and as the tables and the picture that its kind has.

    Returns
    -------
    names of the files, in words
    """
    kind = FORMATS[type(result)]
    write_json(folder / f"{kind.name}.json", result.to_json())
    texts = {}
    if kind.csv:
        texts["csv"] = kind.csv(result).csv()
    if kind.markdown:
        texts["md"] = kind.document(result).markdown()
    if kind.latex:
        texts["tex"] = kind.document(result).latex()
    for suffix, text in texts.items():
        write_text(folder / f"{kind.name}.{suffix}", text)
    if kind.plot:
        module, function = kind.plot.split(".")
        getattr(import_module(f"latadj.reporting.plots.{module}"), function)(result, folder / f"{kind.name}.png")
    *names, last = (f"{kind.name}.{suffix}" for suffix in ("json", *texts, *(["png"] if kind.plot else [])))
    return f"{', '.join(names)} and {last}"


def show(result: Result) -> None:
    """Show a result on the terminal, as much of it as the terminal holds; warnings go to standard error."""
    kind = FORMATS[type(result)]
    (kind.terminal or kind.document)(result).print()
    if isinstance(result, Info):
        stderr = Console(stderr=True, highlight=False)
        for line in result.warnings:
            stderr.print(f"latadj info: {line}", style="yellow", markup=False, soft_wrap=True)
