"""GLUE's tables: one as papers print it, and one for each speedup, in Markdown, LaTeX, CSV and on a terminal."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from rich.table import Table

from latadj.reporting.results.glue import Glue, GlueResult
from latadj.reporting.results.sweep import OWN, Row
from latadj.reporting.views.sweep import HEADLINE
from latadj.tasks.glue import GLUE
from latadj.utils.console import console

NONE = "–"
_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
}


@dataclass
class Grid:
    """A table of text: a title, a heading for each column and rows as wide."""

    title: str
    header: list[str]
    rows: list[list[str]]


def grids(glue: Glue) -> list[Grid]:
    """The overview, then a table for each speedup."""
    return [_overview(glue), *(_at(glue, speedup) for speedup in glue.speedups)]


def notes(glue: Glue) -> list[str]:
    """What stands under the tables: what the scores and the average are, and what to beware of."""
    found = [
        "Scores on GLUE's dev sets, times 100: Matthews correlation on CoLA, F1/accuracy on MRPC and QQP, "
        "Pearson/Spearman on STS-B, accuracy elsewhere (MNLI: matched/mismatched).",
        _covered(glue),
        "One checkpoint a task, never trained between its rows. Speedups are those asked for of the dial; FLOPs count "
        "from the plain model, measured time from the dial's own 1x, both as geometric means over the tasks.",
    ]
    where = glue.environment
    found.append(f"{where['processor']}, {where['threads']} threads, {where['precision']}.")
    for key, of in (("max_train", "training"), ("max_test", "test")):
        most = glue.config.get("task", {}).get(key)
        if most is not None:
            found.append(f"At most {most} {of} examples a task, so these are not GLUE's own numbers.")
    for task in glue.tasks:
        column = GLUE[task.task].column
        if task.unreachable:
            left = ", ".join(f"{speedup:g}x" for speedup in task.unreachable)
            found.append(f"{column}: {left} out of reach on this device, its dial ends at {task.reach or 0:.2f}x.")
        if task.warning:
            found.append(f"Warning, {column}: {task.warning}.")
    return found


def markdown(glue: Glue) -> str:
    """All tables as a Markdown document."""
    parts = []
    for grid in grids(glue):
        lines = [f"### {grid.title}", "", _line(grid.header), "| --- |" + " ---: |" * (len(grid.header) - 1)]
        parts.append("\n".join([*lines, *map(_line, grid.rows)]))
    return "\n\n".join([*parts, *notes(glue)]) + "\n"


def latex(glue: Glue) -> str:
    """All tables for a LaTeX document that loads booktabs."""
    parts = [r"% \usepackage{booktabs}"]
    for grid in grids(glue):
        rows = [" & ".join(map(_escaped, row)) + r" \\" for row in grid.rows]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_escaped(grid.title)}}}",
                    rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
                    r"\toprule",
                    " & ".join(map(_escaped, grid.header)) + r" \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join([*parts, *(f"% {note}" for note in notes(glue))]) + "\n"


def csv_text(glue: Glue) -> str:
    """One row for the plain model and one for each speedup, numbers unrounded; empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = ["model", "speedup"]
    for found in glue.tasks:
        task = GLUE[found.task]
        header += [f"{task.column} {name}" for name in _names(found)]
        header += [f"{task.column} {name}" for name in ("drop", "flops_speedup", "measured", "vs_bucketed")]
    writer.writerow([*header, "average", "flops_speedup", "measured", "vs_bucketed"])
    for speedup in (None, *glue.speedups):
        cells: list[float | str | None] = [glue.model, "plain" if speedup is None else speedup]
        for found in glue.tasks:
            row = found.row(speedup)
            cells += found.scores(speedup) or [None] * len(_names(found))
            cells += [None, None] if row is None else [row.drop, row.flops_speedup]
            cells += [_over(row, OWN), _over(row, HEADLINE)]
        cells.append(glue.average(speedup))
        if speedup is not None:
            cells += [glue.mean_flops(speedup), glue.mean_measured(speedup), glue.mean_measured(speedup, HEADLINE)]
        writer.writerow(["" if cell is None else cell for cell in [*cells, *[None] * 3][: len(header) + 4]])
    return out.getvalue()


def print_glue(glue: Glue) -> None:
    """Show all tables on the terminal."""
    for grid in grids(glue):
        table = Table(title=grid.title, title_justify="left")
        for place, name in enumerate(grid.header):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)
    for note in notes(glue):
        console.print(note, highlight=False)


def _overview(glue: Glue) -> Grid:
    columns = [GLUE[found.task].column for found in glue.tasks]
    rows = []
    for speedup in (None, *glue.speedups):
        cells = [_scores(found.scores(speedup)) for found in glue.tasks]
        costs = [glue.mean_flops(speedup), glue.mean_measured(speedup)] if speedup is not None else [None, None]
        name = "plain model" if speedup is None else f"dial at {speedup:g}x"
        rows.append([name, *cells, _points(glue.average(speedup)), *map(_times, costs)])
    return Grid(f"{glue.model} on GLUE", [glue.model, *columns, "average", "FLOPs", "measured"], rows)


def _at(glue: Glue, speedup: float) -> Grid:
    """The dial at one speedup, beside the plain model."""
    full, cut = glue.average(None), glue.average(speedup)
    drops = [row.drop for task in glue.counted if (row := task.row(speedup)) is not None]
    mean_drop = f"{100 * fmean(drops):+.1f}" if drops else NONE

    def line(name: str, cell: Callable[[Row], str], mean: str = "") -> list[str]:
        found = [task.row(speedup) for task in glue.tasks]
        return [name, *(NONE if row is None else cell(row) for row in found), mean]

    rows = [
        ["plain model", *(_scores(task.scores(None)) for task in glue.tasks), _points(full)],
        [f"dial at {speedup:g}x", *(_scores(task.scores(speedup)) for task in glue.tasks), _points(cut)],
        line("95%, first score", lambda row: _interval(row.metric_ci, ".1f")),
        line("drop, first score", lambda row: f"{100 * row.drop:+.1f}", mean_drop),
        line("95% of the drop", lambda row: _interval(row.drop_ci, "+.1f")),
        line("FLOPs", lambda row: _times(row.flops_speedup), _times(glue.mean_flops(speedup))),
        line("measured over 1x", lambda row: _times(_over(row, OWN)), _times(glue.mean_measured(speedup))),
        line(
            f"measured over {HEADLINE}",
            lambda row: _times(_over(row, HEADLINE)),
            _times(glue.mean_measured(speedup, HEADLINE)),
        ),
    ]
    columns = [GLUE[found.task].column for found in glue.tasks]
    return Grid(f"{glue.model} on GLUE, dial at {speedup:g}x", ["", *columns, "average"], rows)


def _covered(glue: Glue) -> str:
    columns = [GLUE[found.task].column for found in glue.counted]
    left = [task.column for name, task in GLUE.items() if task.counted and task.column not in columns]
    text = f"The average covers {', '.join(columns) or 'no task'}, each once with the mean of its scores"
    if left:
        text += f"; {', '.join(left)} were not run, so it is not GLUE's own average"
    return f"{text}. WNLI is never in it, as is custom."


def _names(found: GlueResult) -> list[str]:
    """Headings of a task's scores in the CSV."""
    scores = GLUE[found.task].scores
    if len({split for split, _ in scores}) == 1:
        return [metric for _, metric in scores]
    return [f"{metric} {('matched', 'mismatched')[split]}" for split, metric in scores]


def _over(row: Row | None, baseline: str) -> float | None:
    found = None if row is None else row.measured.get(baseline)
    return None if found is None else found.speedup


def _scores(values: list[float] | None) -> str:
    return NONE if not values else "/".join(f"{100 * value:.1f}" for value in values)


def _points(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


def _times(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}x"


def _interval(ends: tuple[float, float], form: str) -> str:
    return f"{100 * ends[0]:{form}} to {100 * ends[1]:{form}}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
