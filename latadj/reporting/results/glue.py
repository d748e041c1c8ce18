"""The result of `latadj glue`, typed; its JSON form is the one truth that tables are made from."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from latadj.reporting.results.base import Result
from latadj.reporting.results.sweep import OWN, Row, Sweep
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
        found = self.plain_scores if speedup is None else None if row is None else row.scores
        return None if found is None else scores_of(self.task, found)


@dataclass
class Glue(Result):
    """Everything `latadj glue` found.

    tasks : in the order of GLUE's table
    submissions : names of the zips for GLUE's server -> files in each
    """

    SCHEMA: ClassVar[str] = "latadj.glue/1"
    DERIVED: ClassVar[tuple[str, ...]] = ("averages",)

    model: str
    speedups: list[float]
    tasks: list[GlueResult]
    environment: dict[str, Any]
    config: dict[str, Any]
    submissions: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = in_order([found.task for found in self.tasks])
        self.tasks = sorted(self.tasks, key=lambda found: order.index(found.task))

    @property
    def counted(self) -> list[GlueResult]:
        """The tasks that the average covers."""
        return [found for found in self.tasks if GLUE[found.task].counted]

    def average(self, speedup: float | None) -> float | None:
        """GLUE's average at a speedup, or of the plain model; None unless every task that it covers has scores."""
        scores = {found.task: found.scores(speedup) for found in self.counted}
        there = {task: values for task, values in scores.items() if values is not None}
        return average(there) if len(there) == len(scores) else None

    def mean_flops(self, speedup: float) -> float | None:
        """Geometric mean of the tasks' FLOPs speedups; None unless all have one."""
        rows = [found.row(speedup) for found in self.tasks]
        return _geometric([None if row is None else row.flops_speedup for row in rows])

    def mean_measured(self, speedup: float, baseline: str = OWN) -> float | None:
        """Geometric mean of the tasks' measured speedups over a baseline; None unless all have one."""
        rows = [found.row(speedup) for found in self.tasks]
        found = [None if row is None else row.measured.get(baseline) for row in rows]
        return _geometric([None if one is None else one.speedup for one in found])

    def to_json(self) -> dict[str, Any]:
        averages = {"plain": self.average(None), **{f"{speedup:g}": self.average(speedup) for speedup in self.speedups}}
        return {**super().to_json(), "averages": averages}


def _geometric(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return None
    return math.exp(sum(map(math.log, there)) / len(there))
