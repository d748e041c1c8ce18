"""Sweeps of classifiers, taggers and readers."""

from collections.abc import Sequence
from dataclasses import replace

from latadj.reporting.results.sweep import BASELINES, CONTROLS, OWN, Measured, Row, Sweep
from latadj.reporting.table import Column, Document, Table, entry, interval, speedup
from latadj.reporting.tables.environment import measured_on, out_of_reach, warning

HEADLINE = "bucketed"


def document(sweep: Sweep) -> Document:
    """A row for each speedup."""
    title = f"{sweep.model} on {sweep.task}, {sweep.test_examples} test examples"
    return Document([Table(title, _columns(sweep), sweep.rows, _note(sweep))])


def summary(sweep: Sweep) -> Document:
    """The columns that a first look needs: quality, and speed over the dial's 1x and each baseline."""
    shown = ("speedup", sweep.metric, "drop, points", "measured", *(f"vs {name}" for name in BASELINES), "p50 ms")
    columns = [column for column in _columns(sweep) if column.name in shown]
    return Document([Table("", columns, sweep.rows, _note(sweep))])


def seeds(sweeps: Sequence[Sweep]) -> Table:
    """Several sweeps of the same model and task, a column for each seed: metric and drop at every speedup."""
    by_speedup = [{row.speedup: row for row in sweep.rows} for sweep in sweeps]
    rows = []
    for at in sorted({at for found in by_speedup for at in found}):
        each = [found.get(at) for found in by_speedup]  # a dial may end before another seed's
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


SPEEDUP = Column("speedup", lambda row: row.speedup, "{:g}x", key="speedup")
PREDICTED = speedup("predicted", lambda row: row.predicted, key="predicted", priority=1)
FLOPS = speedup("FLOPs", lambda row: row.flops_speedup, key="flops_speedup")


def quality_columns(sweep: Sweep) -> list[Column]:
    """Metric and drop with their intervals, the controls and the agreement."""
    controls = [name for name in CONTROLS if any(name in row.controls for row in sweep.rows)]
    return [
        Column(sweep.metric, lambda row: row.metric, "{:.2f}", 100, key="metric"),
        interval("metric", lambda row: row.metric_ci, "{:.1f}", scale=100),
        Column("drop, points", lambda row: row.drop, "{:+.2f}", 100, key="drop"),
        interval("drop", lambda row: row.drop_ci, "{:+.2f}", " to ", scale=100),
        *(Column(name, entry("controls", name), "{:.2f}", 100) for name in controls),
        Column("agree", lambda row: row.agreement, "{:.1f}%", 100, key="agreement", priority=1),
    ]


def own_columns(sweep: Sweep) -> list[Column]:
    """Measured over the dial's own speedup 1."""
    return measured_columns("measured", OWN, shown=any(OWN in row.measured for row in sweep.rows))


def clock_columns(sweep: Sweep) -> list[Column]:
    """Measured over each baseline, and milliseconds a batch."""
    timed = any(row.measured for row in sweep.rows)
    padded = [name for name in BASELINES if name != HEADLINE]
    return [
        *measured_columns(f"vs {HEADLINE}", HEADLINE, shown=timed),
        *(column for name in padded for column in measured_columns(f"vs {name}", name, shown=timed, priority=2)),
        Column("p50 ms", entry("latency_ms", "p50"), "{:.1f}", key="latency_p50_ms", shown=timed),
        Column("p95 ms", entry("latency_ms", "p95"), "{:.1f}", key="latency_p95_ms", shown=timed, priority=2),
    ]


def _columns(sweep: Sweep) -> list[Column]:
    own = own_columns(sweep)
    return [
        SPEEDUP,
        Column("profile", lambda row: row.profile_type, key="profile_type", shown=False),
        *quality_columns(sweep),
        FLOPS,
        Column("keep", lambda row: " ".join(f"{ratio:.4f}" for ratio in row.keep), key="keep", shown=False),
        replace(PREDICTED, shown=own[0].shown),
        *own,
        *clock_columns(sweep),
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
