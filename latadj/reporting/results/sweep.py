"""The result of `latadj sweep` on classifiers, taggers and readers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from latadj.reporting.results.base import measured_on, out_of_reach, warning
from latadj.reporting.results.by_length import by_length_tables
from latadj.reporting.results.dial_sweep import (
    CONTROLS,
    FLOPS,
    PREDICTED,
    SPEEDUP,
    DialRow,
    DialSweep,
    Measured,
    width_column,
)
from latadj.reporting.table import Column, Document, Table, entry, interval, speedup

# What `measured` is counted from, besides the baselines: the dial's own speedup 1, in the same precision.
OWN = "dial_1"
# How the full model is fed by those that ``benchmark.baselines`` makes batches for; the first is the honest one.
BASELINES = ("bucketed", "batch_padded", "max_padded")
HEADLINE = BASELINES[0]


@dataclass(kw_only=True)
class Row(DialRow):
    """One position of the dial of a classifier, a tagger or a reader.

    drop : metric points lost against the better full model; 0.01 = one point, positive = worse
    measured : over each baseline, and over ``OWN``
    thresholds : what validation examples decided at this speedup, such as a threshold of no answer
    agreement : share of examples with the full model's prediction; for a regression, correlation with it
    """

    metric_ci: tuple[float, float]
    scores: dict[str, dict[str, float]]
    drop: float
    drop_ci: tuple[float, float]
    agreement: float
    measured: dict[str, Measured] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> tuple[float, tuple[float, float]]:
        """What is lost against the better full model, with its interval; positive = worse."""
        return self.drop, self.drop_ci

    @property
    def over_own(self) -> Measured | None:
        """Measured over the dial's own speedup 1."""
        return self.measured.get(OWN)

    @property
    def over_full(self) -> Measured | None:
        """Measured over the full model."""
        return self.measured.get(HEADLINE)

    def timed(self) -> dict[str, float | None]:
        over = self.over_full or self.over_own
        return {"measured_speedup": over.speedup if over else None, "ms": self.latency_ms.get("p50")}


@dataclass(kw_only=True)
class Sweep(DialSweep):
    """Everything `latadj sweep` found on a task with labels.

    plain_scores : all scores of the plain model, as in a row; None where it is not kept
    samples_s : raw seconds of every timed batch, variant -> rounds -> batches
    batch_lengths, batch_texts : tokens of the longest text, and number of texts, in every timed batch, by baseline;
        speedups run the bucketed ones
    """

    SCHEMA: ClassVar[str] = "latadj.sweep/2"
    FULL = "full model in length-sorted batches"

    greater_is_better: bool = True
    rows: list[Row]
    samples_s: dict[str, list[list[float]]] = field(default_factory=dict)
    plain_scores: dict[str, dict[str, float]] | None = None
    batch_lengths: dict[str, list[int]] = field(default_factory=dict)
    batch_texts: dict[str, list[int]] = field(default_factory=dict)

    def timed_batches(self) -> dict[str, list[list[float]]]:
        return self.samples_s

    def check(self) -> None:
        super().check()
        if any(row.latency_ms and not {"p50", "p95"} <= row.latency_ms.keys() for row in self.rows):
            raise ValueError("rows.latency_ms: expected p50 and p95")
        if not self.samples_s:
            return
        if missing := [name for name in (HEADLINE, *(row.name for row in self.rows)) if name not in self.samples_s]:
            raise ValueError(f"samples_s: nothing of {missing[0]}")
        batches = len(self.samples_s[HEADLINE][0])
        if any(len(self.samples_s[row.name][0]) != batches for row in self.rows):
            raise ValueError(f"samples_s: not all speedups ran the {batches} batches of {HEADLINE}")
        for field_name in ("batch_lengths", "batch_texts"):
            if len(getattr(self, field_name).get(HEADLINE, [])) not in (0, batches):
                raise ValueError(f"{field_name}.{HEADLINE}: expected {batches} batches")
        if self.batch_texts.get(HEADLINE) and not self.batch_lengths.get(HEADLINE):
            raise ValueError(f"batch_lengths: nothing of {HEADLINE}")

    def document(self) -> Document:
        """A row for each speedup."""
        title = f"{self.model} on {self.task}, {self.test_examples} test examples"
        tables = [Table(title, _columns(self), self.rows, _note(self)), *self.by_length()]
        return Document(tables, self.length_warnings())

    def by_length(self) -> list[Table]:
        return by_length_tables(self.groups(), "drop in points", points)

    def csv_table(self) -> Table:
        return self.document().tables[0]

    def summary(self) -> Document:
        """The columns that a first look needs: quality, and speed over the dial's 1x and each baseline."""
        shown = ("speedup", self.metric, "drop, points", "measured", *(f"vs {name}" for name in BASELINES), "p50 ms")
        columns = [column for column in _columns(self) if column.name in shown]
        return Document([Table("", columns, self.rows, _note(self))])

    def quality_columns(self) -> list[Column]:
        """Metric and drop with their intervals, the controls and the agreement."""
        controls = [name for name in CONTROLS if any(name in row.controls for row in self.rows)]
        return [
            Column(self.metric, lambda row: row.metric, "{:.2f}", 100, key="metric"),
            interval("metric", lambda row: row.metric_ci, "{:.1f}", scale=100),
            Column("drop, points", lambda row: row.drop, "{:+.2f}", 100, key="drop"),
            interval("drop", lambda row: row.drop_ci, "{:+.2f}", " to ", scale=100),
            *(Column(name, entry("controls", name), "{:.2f}", 100) for name in controls),
            Column("agree", lambda row: row.agreement, "{:.1f}%", 100, key="agreement", priority=1),
        ]

    def own_columns(self) -> list[Column]:
        """Measured over the dial's own speedup 1."""
        return measured_columns("measured", OWN, shown=any(OWN in row.measured for row in self.rows))

    def clock_columns(self) -> list[Column]:
        """Measured over each baseline, and milliseconds a batch."""
        timed = any(row.measured for row in self.rows)
        padded = [name for name in BASELINES if name != HEADLINE]
        return [
            *measured_columns(f"vs {HEADLINE}", HEADLINE, shown=timed),
            *(column for name in padded for column in measured_columns(f"vs {name}", name, shown=timed, priority=2)),
            Column("p50 ms", entry("latency_ms", "p50"), "{:.1f}", key="latency_p50_ms", shown=timed),
            Column("p95 ms", entry("latency_ms", "p95"), "{:.1f}", key="latency_p95_ms", shown=timed, priority=2),
        ]


def points(loss: float) -> str:
    """A loss in points of the metric."""
    return f"{100 * loss:+.1f}"


def seeds(sweeps: Sequence[Sweep]) -> Table:
    """Several sweeps of the same model and task, a column for each seed: metric and drop at every speedup."""
    by_speedup = [{row.speedup: row for row in sweep.rows} for sweep in sweeps]
    rows = []
    for at in sorted({at for rows_of_seed in by_speedup for at in rows_of_seed}):
        each = [rows_of_seed.get(at) for rows_of_seed in by_speedup]  # a dial may end before another seed's
        drops = [100 * row.drop for row in each if row]
        cells = [f"{100 * row.metric:.2f} ({100 * row.drop:+.2f})" if row else "out of reach" for row in each]
        rows.append([f"{at:g}x", *cells, f"{sum(drops) / len(drops):+.2f}" if len(drops) == len(each) else ""])
    plain = [f"{100 * sweep.plain_metric:.2f}" if sweep.plain_metric is not None else "" for sweep in sweeps]
    header = ["speedup", *(f"seed {sweep.config['seed']}" for sweep in sweeps), "mean drop"]
    title = f"{sweeps[0].metric} (drop in points) over seeds of the whole pipeline:"
    return Table.of_cells(title, header, [*rows, ["plain model", *plain, ""]], left=0, heading=False)


def measured_columns(name: str, baseline: str, *, shown: bool = True, priority: int = 0) -> list[Column]:
    """The clock's speedup over a baseline, and its interval; of padded baselines the interval is in CSV alone."""

    def over(row: Row) -> Measured | None:
        return row.measured.get(baseline)

    return [
        speedup(name, lambda row: getattr(over(row), "speedup", None), key=baseline, shown=shown, priority=priority),
        interval(baseline, lambda row: getattr(over(row), "ci", None), shown=shown and baseline in (OWN, HEADLINE)),
    ]


def _columns(sweep: Sweep) -> list[Column]:
    own = sweep.own_columns()
    return [
        SPEEDUP,
        Column("profile", lambda row: row.profile_type, key="profile_type", shown=False),
        *sweep.quality_columns(),
        FLOPS,
        width_column(sweep.rows),
        Column("keep", lambda row: " ".join(f"{ratio:.4f}" for ratio in row.keep), key="keep", shown=False),
        replace(PREDICTED, shown=own[0].shown),
        *own,
        *sweep.clock_columns(),
    ]


def _note(sweep: Sweep) -> str:
    plain = "not kept" if sweep.plain_metric is None else f"{100 * sweep.plain_metric:.2f}"
    size = sweep.config.get("task", {}).get("batch_size", "?")
    where = sweep.environment
    return " ".join(
        [
            f"Plain model {plain}, this checkpoint at 1x {100 * sweep.baseline_metric:.2f}; drops count from the "
            "better one. One checkpoint, never trained between the rows.",
            measured_on(where, where["precision"], f"batch {size}; milliseconds a batch"),
            *out_of_reach(sweep.unreachable, sweep.reach),
            *warning(where),
        ]
    )
