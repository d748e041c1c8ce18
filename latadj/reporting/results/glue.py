"""The result of `latadj glue`: one table as papers print it, and one for each speedup."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, ClassVar

from latadj.reporting.results.base import Result, measured_on
from latadj.reporting.results.origin import Config, Environment
from latadj.reporting.results.sweep import HEADLINE, OWN, Row, Sweep
from latadj.reporting.table import Column, Document, Table
from latadj.tasks.glue import GLUE, average, in_order, scores_of


@dataclass
class GlueResult:
    """What one task's sweep found.

    examples : of ``train``, ``validation`` and each test split by its name
    plain_scores : of the plain fine-tuned model, split -> metric -> value
    rows : a position of the dial each, with scores, interval, drop, FLOPs and the clock
    seconds : that each command took, without what a kill lost
    warning : what was wrong with the machine while it was measured, if anything
    """

    task: str
    metric: str
    examples: dict[str, int]
    plain_scores: dict[str, dict[str, float]] | None
    rows: list[Row]
    unreachable: list[float]
    reach: float | None
    seconds: dict[str, float]
    warning: str | None = None

    @classmethod
    def of(cls, sweep: Sweep, examples: dict[str, int], seconds: dict[str, float]) -> "GlueResult":
        """That of a sweep."""
        return cls(
            task=sweep.task,
            metric=sweep.metric,
            examples=examples,
            plain_scores=sweep.plain_scores,
            rows=sweep.rows,
            unreachable=sweep.unreachable,
            reach=sweep.reach,
            seconds=seconds,
            warning=(sweep.environment.get("quiet") or {}).get("warning"),
        )

    def row(self, speedup: float | None) -> Row | None:
        """The dial's row at a speedup; None where this task does not reach it."""
        return next((row for row in self.rows if row.speedup == speedup), None)

    def scores(self, speedup: float | None) -> list[float] | None:
        """The score or two that GLUE prints, at a speedup, or of the plain model where that is None."""
        row = self.row(speedup)
        scores = self.plain_scores if speedup is None else None if row is None else row.scores
        return None if scores is None else scores_of(self.task, scores)


@dataclass
class Glue(Result):
    """Everything `latadj glue` found.

    tasks : in the order of GLUE's table
    submissions : names of the zips for GLUE's server -> files in each
    """

    SCHEMA: ClassVar[str] = "latadj.glue/2"
    DERIVED: ClassVar[tuple[str, ...]] = ("averages",)
    FILE = "glue"
    FORMATS = ("csv", "md", "tex")

    model: str
    speedups: list[float]
    tasks: list[GlueResult]
    environment: Environment
    config: Config
    submissions: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = in_order([task.task for task in self.tasks])
        self.tasks = sorted(self.tasks, key=lambda task: order.index(task.task))

    @property
    def counted(self) -> list[GlueResult]:
        """The tasks that the average covers."""
        return [task for task in self.tasks if GLUE[task.task].counted]

    def average(self, speedup: float | None) -> float | None:
        """GLUE's average at a speedup, or of the plain model; None unless every task that it covers has scores."""
        scores = {task.task: task.scores(speedup) for task in self.counted}
        there = {name: values for name, values in scores.items() if values is not None}
        return average(there) if len(there) == len(scores) else None

    def mean_flops(self, speedup: float) -> float | None:
        """Geometric mean of the tasks' FLOPs speedups; None unless all have one."""
        rows = [task.row(speedup) for task in self.tasks]
        return _geometric([None if row is None else row.flops_speedup for row in rows])

    def mean_measured(self, speedup: float, baseline: str = OWN) -> float | None:
        """Geometric mean of the tasks' measured speedups over a baseline; None unless all have one."""
        rows = [task.row(speedup) for task in self.tasks]
        measured = [None if row is None else row.measured.get(baseline) for row in rows]
        return _geometric([None if one is None else one.speedup for one in measured])

    def to_json(self) -> dict[str, Any]:
        averages = {"plain": self.average(None), **{f"{speedup:g}": self.average(speedup) for speedup in self.speedups}}
        return {**super().to_json(), "averages": averages}

    def document(self) -> Document:
        """The overview, then a table for each speedup."""
        return Document([_overview(self), *(_at(self, speedup) for speedup in self.speedups)], _notes(self))

    def csv_table(self) -> Table:
        """A row for the plain model and one for each speedup, which is None for the plain model."""
        columns = [
            Column("", lambda _: self.model, key="model"),
            Column("", lambda speedup: "plain" if speedup is None else speedup, key="speedup"),
        ]

        def add(key: str, get: Callable[[Any], Any]) -> None:
            columns.append(Column("", get, key=key))

        def of_row(task: GlueResult, get: Callable[[Row], Any]) -> Callable[[Any], Any]:
            return lambda speedup: None if (row := task.row(speedup)) is None else get(row)

        def score_of(task: GlueResult, place: int) -> Callable[[Any], Any]:
            return lambda speedup: None if (scores := task.scores(speedup)) is None else scores[place]

        for task in self.tasks:
            name = GLUE[task.task].column
            for place, score in enumerate(_score_names(task)):
                add(f"{name} {score}", score_of(task, place))
            add(f"{name} drop", of_row(task, lambda row: row.drop))
            add(f"{name} flops_speedup", of_row(task, lambda row: row.flops_speedup))
            add(f"{name} measured", of_row(task, lambda row: _over(row, OWN)))
            add(f"{name} vs_bucketed", of_row(task, lambda row: _over(row, HEADLINE)))
        add("average", self.average)
        add("flops_speedup", lambda at: None if at is None else self.mean_flops(at))
        add("measured", lambda at: None if at is None else self.mean_measured(at))
        add("vs_bucketed", lambda at: None if at is None else self.mean_measured(at, HEADLINE))
        return Table("", columns, [None, *self.speedups])


def _geometric(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return None
    return math.exp(sum(map(math.log, there)) / len(there))


NONE = "–"


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
