"""The result of `latadj sweep` and `latadj eval` on a task of mteb."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from latadj.reporting.results.base import measured_on, out_of_reach
from latadj.reporting.results.dial_sweep import FLOPS, PREDICTED, SPEEDUP, DialRow, DialSweep, width_column
from latadj.reporting.table import Column, Document, Table, speedup
from latadj.utils.serialization import AT_LEAST_1, NotNegative


@dataclass(kw_only=True)
class MtebRow(DialRow):
    """One position of the dial on a task of mteb, which gives a score without an interval.

    metric : mteb's main score, a mean over splits and subsets
    scores : main score of each split, and of each of its subsets
    drop : points lost against the better full model; 0.01 = one point, positive = worse
    seconds : of all passes that the task asked for, one position after the other, not in turns
    over_1x : those of the dial's own speedup 1 over them
    """

    scores: dict[str, float]
    drop: float
    seconds: NotNegative
    over_1x: float | None = None

    def timed(self) -> dict[str, float | None]:
        return {"measured_speedup": self.over_1x}


@dataclass(kw_only=True)
class MtebSweep(DialSweep):
    """What mteb found along the dial.

    metric : what the task's main score is, such as ``cosine_spearman``
    test_examples : texts that the task had embedded
    mteb : version of the package
    """

    SCHEMA: ClassVar[str] = "latadj.mteb/1"
    FILE = "mteb"
    PLOT = ""
    FULL = "full model"

    greater_is_better: bool = True
    test_examples: Annotated[int, AT_LEAST_1]
    rows: list[MtebRow]
    mteb: str

    def timed_batches(self) -> dict[str, list[list[float]]]:
        return {}

    def document(self) -> Document:
        """A row for each speedup."""
        title = f"{self.model} on {self.task} of mteb {self.mteb}, {self.test_examples:,} texts"
        columns = [
            SPEEDUP,
            Column(self.metric, lambda row: row.metric, "{:.2f}", 100, key="metric"),
            Column("drop, points", lambda row: row.drop, "{:+.2f}", 100, key="drop"),
            FLOPS,
            width_column(self.rows),
            PREDICTED,
            Column("seconds", lambda row: row.seconds, "{:.1f}", key="seconds"),
            speedup("over 1x", lambda row: row.over_1x, key="over_1x"),
        ]
        return Document([Table(title, columns, self.rows, self._note())])

    def _note(self) -> str:
        plain = "not kept" if self.plain_metric is None else f"{100 * self.plain_metric:.2f}"
        return " ".join(
            [
                f"Plain model {plain}, this checkpoint at 1x {100 * self.baseline_metric:.2f}; drops count from the "
                "better one. mteb gives one score, hence no interval. Seconds are those of all passes, one row after "
                "the other, not in turns:",
                measured_on(self.environment, self.environment["precision"]),
                *out_of_reach(self.unreachable, self.reach),
            ]
        )
