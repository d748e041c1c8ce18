"""GLUE's tables: one as papers print it, and one for each speedup."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

from latadj.reporting.results.glue import Glue, GlueResult
from latadj.reporting.results.sweep import OWN, Row
from latadj.reporting.table import Column, Document, Table
from latadj.reporting.tables.environment import measured_on
from latadj.reporting.tables.sweep import HEADLINE
from latadj.tasks.glue import GLUE

NONE = "–"


def document(glue: Glue) -> Document:
    """The overview, then a table for each speedup."""
    return Document([_overview(glue), *(_at(glue, speedup) for speedup in glue.speedups)], _notes(glue))


def csv_table(glue: Glue) -> Table:
    """A row for the plain model and one for each speedup, which is None for the plain model."""
    columns = [
        Column("", lambda _: glue.model, key="model"),
        Column("", lambda speedup: "plain" if speedup is None else speedup, key="speedup"),
    ]

    def add(key: str, get: Callable[[Any], Any]) -> None:
        columns.append(Column("", get, key=key))

    def of_row(task: GlueResult, get: Callable[[Row], Any]) -> Callable[[Any], Any]:
        return lambda speedup: None if (row := task.row(speedup)) is None else get(row)

    def score_of(task: GlueResult, place: int) -> Callable[[Any], Any]:
        return lambda speedup: None if (scores := task.scores(speedup)) is None else scores[place]

    for task in glue.tasks:
        name = GLUE[task.task].column
        for place, score in enumerate(_score_names(task)):
            add(f"{name} {score}", score_of(task, place))
        add(f"{name} drop", of_row(task, lambda row: row.drop))
        add(f"{name} flops_speedup", of_row(task, lambda row: row.flops_speedup))
        add(f"{name} measured", of_row(task, lambda row: _over(row, OWN)))
        add(f"{name} vs_bucketed", of_row(task, lambda row: _over(row, HEADLINE)))
    add("average", glue.average)
    add("flops_speedup", lambda at: None if at is None else glue.mean_flops(at))
    add("measured", lambda at: None if at is None else glue.mean_measured(at))
    add("vs_bucketed", lambda at: None if at is None else glue.mean_measured(at, HEADLINE))
    return Table("", columns, [None, *glue.speedups])


def _overview(glue: Glue) -> Table:
    rows = []
    for speedup in (None, *glue.speedups):
        costs = [glue.mean_flops(speedup), glue.mean_measured(speedup)] if speedup is not None else [None, None]
        scores = [_scores(task.scores(speedup)) for task in glue.tasks]
        rows.append([_name(speedup), *scores, _points(glue.average(speedup)), *map(_times, costs)])
    header = [glue.model, *(GLUE[task.task].column for task in glue.tasks), "average", "FLOPs", "measured"]
    return Table.of_cells(f"{glue.model} on GLUE", header, rows)


def _at(glue: Glue, speedup: float) -> Table:
    """The dial at one speedup, beside the plain model."""
    drops = [row.drop for task in glue.counted if (row := task.row(speedup)) is not None]
    mean_drop = f"{100 * fmean(drops):+.1f}" if drops else NONE

    def line(name: str, cell: Callable[[Row], str], mean: str = "") -> list[str]:
        rows = [task.row(speedup) for task in glue.tasks]
        return [name, *(NONE if row is None else cell(row) for row in rows), mean]

    def scores(at: float | None) -> list[str]:
        return [_name(at), *(_scores(task.scores(at)) for task in glue.tasks), _points(glue.average(at))]

    def measured(baseline: str) -> Callable[[Row], str]:
        return lambda row: _times(_over(row, baseline))

    rows = [
        scores(None),
        scores(speedup),
        line("95%, first score", lambda row: _interval(row.metric_ci, ".1f")),
        line("drop, first score", lambda row: f"{100 * row.drop:+.1f}", mean_drop),
        line("95% of the drop", lambda row: _interval(row.drop_ci, "+.1f")),
        line("FLOPs", lambda row: _times(row.flops_speedup), _times(glue.mean_flops(speedup))),
        line("measured over 1x", measured(OWN), _times(glue.mean_measured(speedup))),
        line(f"measured over {HEADLINE}", measured(HEADLINE), _times(glue.mean_measured(speedup, HEADLINE))),
    ]
    header = ["", *(GLUE[task.task].column for task in glue.tasks), "average"]
    return Table.of_cells(f"{glue.model} on GLUE, dial at {speedup:g}x", header, rows)


def _notes(glue: Glue) -> list[str]:
    """What the scores and the average are, and what to beware of."""
    notes = [
        "Scores on GLUE's dev sets, times 100: Matthews correlation on CoLA, F1/accuracy on MRPC and QQP, "
        "Pearson/Spearman on STS-B, accuracy elsewhere (MNLI: matched/mismatched).",
        _covered(glue),
        "One checkpoint a task, never trained between its rows. Speedups are those asked for of the dial; FLOPs count "
        "from the plain model, measured time from the dial's own 1x, both as geometric means over the tasks.",
        measured_on(glue.environment, glue.environment["precision"]),
    ]
    for key, of in (("max_train", "training"), ("max_test", "test")):
        most = glue.config.get("task", {}).get(key)
        if most is not None:
            notes.append(f"At most {most} {of} examples a task, so these are not GLUE's own numbers.")
    for task in glue.tasks:
        column = GLUE[task.task].column
        if task.unreachable:
            names = ", ".join(f"{speedup:g}x" for speedup in task.unreachable)
            notes.append(f"{column}: {names} out of reach on this device, its dial ends at {task.reach or 0:.2f}x.")
        if task.warning:
            notes.append(f"Warning, {column}: {task.warning}.")
    return notes


def _covered(glue: Glue) -> str:
    columns = [GLUE[task.task].column for task in glue.counted]
    missing = [task.column for task in GLUE.values() if task.counted and task.column not in columns]
    text = f"The average covers {', '.join(columns) or 'no task'}, each once with the mean of its scores"
    if missing:
        text += f"; {', '.join(missing)} were not run, so it is not GLUE's own average"
    return f"{text}. WNLI is never in it, as is custom."


def _score_names(task: GlueResult) -> list[str]:
    """Headings of a task's scores in the CSV."""
    scores = GLUE[task.task].scores
    if len({split for split, _ in scores}) == 1:
        return [metric for _, metric in scores]
    return [f"{metric} {('matched', 'mismatched')[split]}" for split, metric in scores]


def _over(row: Row, baseline: str) -> float | None:
    measured = row.measured.get(baseline)
    return None if measured is None else measured.speedup


def _name(speedup: float | None) -> str:
    return "plain model" if speedup is None else f"dial at {speedup:g}x"


def _scores(values: list[float] | None) -> str:
    return NONE if not values else "/".join(f"{100 * value:.1f}" for value in values)


def _points(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


def _times(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}x"


def _interval(ends: tuple[float, float], form: str) -> str:
    return f"{100 * ends[0]:{form}} to {100 * ends[1]:{form}}"
