"""Tables: rich for the terminal, Markdown and CSV for files."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from latadj.benchmark.baselines import BASELINES
from latadj.elimination.dial import Dial
from latadj.reporting.cells import table_line
from latadj.reporting.results.sweep import CONTROLS, OWN, Row, Sweep
from latadj.utils.console import console

# Layers that stand side by side; a terminal has no room for more.
MOST_COLUMNS = 12
HEADLINE = "bucketed"
# Of the clock's columns, those that a narrow terminal gets: no intervals, no padded baselines.
BRIEFLY_TIMED = ("measured", f"vs {HEADLINE}", "p50 ms")
MOST_WIDTH = 1000  # what a table is measured in, to see how wide it would like to be
PLAIN: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 0)}
COMPARED = (OWN, *BASELINES)


def print_dial(dial: Dial, profiles: list[dict[str, Any]]) -> None:
    """Show layer ACC and the profiles of a dial: a line each, or a column where a line would not fit."""
    layers = [f"layer {layer}" for layer in range(1, dial.layers + 1)]
    costs = ["FLOPs", *(["foreseen"] if dial.target == "latency" else [])]
    lines = [
        ["asked", *layers, *costs],
        ["layer ACC", *(f"{value:.2f}" for value in dial.layer_acc), *("" for _ in costs)],
    ]
    for profile in profiles:
        keep = [f"{ratio:.2f}" for ratio in profile["keep"]]
        if dial.reads == "pooled":
            keep[-1] = "pooled"
        times = (profile["flops_speedup"], profile["predicted"])
        lines.append([f"{profile['speedup']:g}x", *keep, *(f"{value:.2f}x" for value in times[: len(costs)])])
    if dial.layers > MOST_COLUMNS:
        lines = [list(column) for column in zip(*lines, strict=True)]
    title = f"Keep ratios, profile={dial.profile_type}"
    if dial.shapes[0].causal:
        title += f"; {dial.window.text()}"
    table = Table(title=title, title_justify="left", **PLAIN)
    for name in lines[0]:
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line, style="dim" if line[0] == "layer ACC" else None)
    console.print(table)
    if dial.reach() < dial.max_speedup:
        console.print(f"Speedups end at {dial.reach():.2f}x here, where FLOPs are cut {dial.max_flops:g}x.")


def print_sweep(sweep: Sweep) -> None:
    """Show a sweep on the terminal, as much of it as the terminal holds; the files have all."""
    header, rows = _cells(sweep)
    table = _table(sweep, header, rows)
    if console.measure(table, options=console.options.update(width=MOST_WIDTH)).maximum > console.width:
        told = ["asked", sweep.metric, "drop, points", *_controls(sweep), "FLOPs", *BRIEFLY_TIMED]
        places = [header.index(name) for name in told if name in header]
        table = _table(sweep, [header[place] for place in places], [[row[place] for place in places] for row in rows])
    console.print(table)


def _table(sweep: Sweep, header: list[str], rows: list[list[str]]) -> Table:
    table = Table(title=_title(sweep), title_justify="left", caption=_caption(sweep), caption_justify="left", **PLAIN)
    for name in header:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def markdown(sweep: Sweep) -> str:
    """A sweep as a Markdown document."""
    header, rows = _cells(sweep)
    lines = [f"### {_title(sweep)}", "", table_line(header), "|" + " ---: |" * len(header)]
    lines += [table_line(row) for row in rows]
    return "\n".join([*lines, "", _caption(sweep), ""])


def summary_markdown(sweep: Sweep) -> str:
    """The columns of a sweep that a first look needs: quality, and speed over the dial's 1x and each baseline."""
    header, rows = _cells(sweep)
    wanted = ["asked", sweep.metric, "drop, points", "measured", *(f"vs {name}" for name in BASELINES), "p50 ms"]
    places = [header.index(name) for name in wanted if name in header]
    lines = [table_line([header[place] for place in places]), "|" + " ---: |" * len(places)]
    lines += [table_line([row[place] for place in places]) for row in rows]
    return "\n".join([*lines, "", _caption(sweep), ""])


def seeds_markdown(sweeps: Sequence[Sweep]) -> str:
    """Several sweeps of the same model and task, one column a seed: metric and drop at every speedup."""
    seeds = [sweep.config["seed"] for sweep in sweeps]
    metric = sweeps[0].metric
    lines = [
        f"{metric} (drop in points) over seeds of the whole pipeline:",
        "",
        "| asked | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean drop |",
        "|" + " ---: |" * (len(seeds) + 2),
    ]
    found = [{row.speedup: row for row in sweep.rows} for sweep in sweeps]
    for speedup in sorted({speedup for rows in found for speedup in rows}):
        # A dial may end before another seed's.
        each = [rows.get(speedup) for rows in found]
        cells = [f"{100 * row.metric:.2f} ({100 * row.drop:+.2f})" if row else "out of reach" for row in each]
        drops = [100 * row.drop for row in each if row]
        mean = f"{sum(drops) / len(drops):+.2f}" if len(drops) == len(each) else ""
        lines.append(f"| {speedup:g}x | " + " | ".join(cells) + f" | {mean} |")
    plain = [f"{100 * sweep.plain_metric:.2f}" if sweep.plain_metric is not None else "" for sweep in sweeps]
    return "\n".join([*lines, "| plain model | " + " | ".join(plain) + " | |", ""])


def csv_text(sweep: Sweep) -> str:
    """A sweep as CSV, one row a speedup, numbers unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["speedup", "profile_type", "metric", "metric_low", "metric_high", "drop", "drop_low", "drop_high"]
        + ["agreement", "flops_speedup", "keep", "predicted"]
        + [f"{name}{part}" for name in COMPARED for part in ("", "_low", "_high")]
        + ["latency_p50_ms", "latency_p95_ms"]
    )
    for row in sweep.rows:
        measured = [row.measured.get(name) for name in COMPARED]
        writer.writerow(
            [row.speedup, row.profile_type, row.metric, *row.metric_ci, row.drop, *row.drop_ci]
            + [row.agreement, row.flops_speedup, " ".join(f"{ratio:.4f}" for ratio in row.keep)]
            + ["" if row.predicted is None else row.predicted]
            + [value for found in measured for value in ((found.speedup, *found.ci) if found else ("", "", ""))]
            + [row.latency_ms.get("p50", ""), row.latency_ms.get("p95", "")]
        )
    return out.getvalue()


def _cells(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    timed = any(row.measured for row in sweep.rows)
    header = ["asked", sweep.metric, "95%", "drop, points", "95%", *_controls(sweep), "agree", "FLOPs"]
    if timed:
        header += ["predicted", "measured", "95%"] if _marked(sweep) else []
        header += ["vs bucketed", "95%", "vs batch_padded", "vs max_padded", "p50 ms", "p95 ms"]
    return header, [_row(row, timed, _marked(sweep), _controls(sweep)) for row in sweep.rows]


def _controls(sweep: Sweep) -> list[str]:
    return [name for name in CONTROLS if any(name in row.controls for row in sweep.rows)]


def _marked(sweep: Sweep) -> bool:
    """Whether the clock was held against the dial's own speedup 1."""
    return any(OWN in row.measured for row in sweep.rows)


def _row(row: Row, timed: bool, marked: bool, controls: Sequence[str]) -> list[str]:
    cells = [
        f"{row.speedup:g}x",
        f"{100 * row.metric:.2f}",
        f"{100 * row.metric_ci[0]:.1f}–{100 * row.metric_ci[1]:.1f}",
        f"{100 * row.drop:+.2f}",
        f"{100 * row.drop_ci[0]:+.2f} to {100 * row.drop_ci[1]:+.2f}",
        *(f"{100 * row.controls[name]:.2f}" if name in row.controls else "" for name in controls),
        f"{100 * row.agreement:.1f}%",
        f"{row.flops_speedup:.2f}x",
    ]
    if timed and marked:
        own = row.measured[OWN]
        cells += ["" if row.predicted is None else f"{row.predicted:.2f}x", f"{own.speedup:.2f}x"]
        cells.append(f"{own.ci[0]:.2f}–{own.ci[1]:.2f}")
    if timed:
        headline = row.measured[HEADLINE]
        cells += [f"{headline.speedup:.2f}x", f"{headline.ci[0]:.2f}–{headline.ci[1]:.2f}"]
        cells += [f"{row.measured[name].speedup:.2f}x" for name in BASELINES if name != HEADLINE]
        cells += [f"{row.latency_ms['p50']:.1f}", f"{row.latency_ms['p95']:.1f}"]
    return cells


def _title(sweep: Sweep) -> str:
    return f"{sweep.model} on {sweep.task}, {sweep.test_examples} test examples"


def _caption(sweep: Sweep) -> str:
    plain = "not kept" if sweep.plain_metric is None else f"{100 * sweep.plain_metric:.2f}"
    where = sweep.environment
    size = sweep.config.get("task", {}).get("batch_size", "?")
    warning = (where.get("quiet") or {}).get("warning")
    return (
        f"Plain model {plain}, this checkpoint at 1x {100 * sweep.baseline_metric:.2f}; drops count from the better "
        f"one. One checkpoint, never trained between the rows. {where['processor']}, {where['threads']} threads, "
        f"{where['precision']}, batch {size}; milliseconds a batch."
        + (f" {_reach(sweep)}" if sweep.unreachable else "")
        + (f" Warning: {warning}." if warning else "")
    )


def _reach(sweep: Sweep) -> str:
    left = ", ".join(f"{speedup:g}x" for speedup in sweep.unreachable)
    return f"Out of reach on this device: {left}; the dial ends at {sweep.reach or 0:.2f}x."
