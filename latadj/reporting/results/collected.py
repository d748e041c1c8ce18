"""The results of several runs in one table: mean and interval over seeds for each setting."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, ClassVar

from latadj.reporting.results.base import Result
from latadj.reporting.table import Column, Document, Table, interval, speedup
from latadj.utils.serialization import Entries, Positive

Interval = tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, and the 95% interval of that mean by Student's t; None of a single seed."""

    value: float
    ci: Interval | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """That of one value for each seed."""
        mean = fmean(values)
        if len(values) < 2:
            return cls(mean)
        from scipy import stats  # takes a while to import

        half = float(stats.sem(values)) * float(stats.t.ppf(0.975, len(values) - 1))
        return cls(mean, (mean - half, mean + half))


@dataclass(kw_only=True)
class CollectedRow:
    """One position of the dial at one setting, over seeds.

    setting : what tells the results of a model and task apart, besides the seed, such as ``dial.target=flops``
    seeds : of which there are results
    scale : 100 of a metric that is shown in percent, 1 of a perplexity
    metric, loss : loss as in a sweep's rows: in metric points, or as the relative increase of a perplexity
    over_full : clock's speedup over the full model, and over the dial's own 1x; None where it was left out
    """

    model: str
    task: str
    metric_name: str
    setting: str
    speedup: Positive
    seeds: list[int]
    scale: float
    metric: Mean
    loss: Mean
    flops_speedup: float
    over_full: Mean | None = None
    over_own: Mean | None = None

    @property
    def group(self) -> tuple[str, str, str]:
        """The table that it stands in."""
        return self.model, self.task, self.metric_name


@dataclass(kw_only=True)
class Collected(Result):
    """Everything `latadj collect` joined.

    files : results that were read, inside ``folder``
    left_out : file -> why it was not
    noisy : how many of them were measured on a machine that was not quiet, or beside other jobs
    """

    SCHEMA: ClassVar[str] = "latadj.collected/1"
    FILE = "collect"
    FORMATS = ("csv", "md")
    PLOT = "plot_collected"

    folder: str
    files: list[str]
    rows: Annotated[list[CollectedRow], Entries(2**16, 1)]
    left_out: dict[str, str] = field(default_factory=dict)
    noisy: int = 0

    def groups(self) -> list[list[CollectedRow]]:
        """The rows by model, task and metric."""
        names = dict.fromkeys(row.group for row in self.rows)
        return [[row for row in self.rows if row.group == name] for name in names]

    def document(self) -> Document:
        """A table for each model and task."""
        return Document([_table(rows) for rows in self.groups()], self.notes())

    def csv_table(self) -> Table:
        columns = [
            Column("model", lambda row: row.model, key="model"),
            Column("task", lambda row: row.task, key="task"),
            Column("metric's name", lambda row: row.metric_name, key="metric_name"),
            *_columns(self.rows, "metric"),
        ]
        return Table("", columns, self.rows)

    def notes(self) -> list[str]:
        """What has to be known to read the tables."""
        most = max(len(row.seeds) for row in self.rows)
        several = "Means over seeds; 95% is the interval of the mean by Student's t."
        notes = [several if most > 1 else "One seed of each setting: there are no intervals over seeds."]
        short = sorted({f"{row.speedup:g}x" for row in self.rows if len(row.seeds) < self._most(row)})
        if short:
            notes.append(f"Not every seed has a result at {', '.join(short)}: those means are of fewer seeds.")
        if self.noisy:
            notes.append(
                f"Warning: {self.noisy} of {len(self.files)} results were measured on a machine that was not quiet, or "
                "beside other jobs."
            )
        notes += [f"Left out: {file}: {why}." for file, why in self.left_out.items()]
        return notes

    def _most(self, row: CollectedRow) -> int:
        return max(len(one.seeds) for one in self.rows if (one.group, one.setting) == (row.group, row.setting))


def _table(rows: list[CollectedRow]) -> Table:
    first = rows[0]
    seeds = sorted({seed for row in rows for seed in row.seeds})
    title = f"{first.model} on {first.task}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return Table(title, _columns(rows, first.metric_name), rows)


def _columns(rows: Sequence[CollectedRow], metric: str) -> list[Column]:
    percent = rows[0].scale != 1

    def written(row: CollectedRow) -> Interval | None:
        ci = row.metric.ci
        return None if ci is None else (row.scale * ci[0], row.scale * ci[1])

    several = any(len(row.seeds) > 1 for row in rows)
    loss = "drop, points" if percent else "increase, %"
    return [
        Column("setting", lambda row: row.setting, key="setting", left=True, shown=any(row.setting for row in rows)),
        Column("speedup", lambda row: row.speedup, "{:g}x", key="speedup"),
        Column("seeds", lambda row: len(row.seeds), key="seeds", priority=2),
        Column(metric, lambda row: row.scale * row.metric.value, "{:.2f}", key="metric"),
        interval("metric", written, "{:.1f}", shown=several, priority=1),
        Column(loss, lambda row: row.loss.value, "{:+.2f}", 100, key="loss"),
        interval("loss", lambda row: row.loss.ci, "{:+.2f}", " to ", scale=100, shown=several, priority=1),
        speedup("FLOPs", lambda row: row.flops_speedup, key="flops_speedup"),
        *_clock("measured", "over_own", rows, several),
        *_clock("vs full model", "over_full", rows, several),
    ]


def _clock(name: str, key: str, rows: Sequence[CollectedRow], several: bool) -> list[Column]:
    def over(row: CollectedRow) -> Mean:
        return getattr(row, key) or Mean(float("nan"))

    timed = any(getattr(row, key) is not None for row in rows)
    return [
        speedup(name, lambda row: over(row).value if getattr(row, key) else None, key=key, shown=timed),
        interval(key, lambda row: over(row).ci, shown=timed and several),
    ]
