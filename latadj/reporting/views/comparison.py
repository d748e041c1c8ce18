"""A comparison of models to look at: rich for the terminal, Markdown, CSV and one picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.box import SIMPLE_HEAD
from rich.table import Table

from latadj.elimination.topk.setting import TopKAttention
from latadj.reporting.cells import between, save_figure, table_line, times
from latadj.reporting.results.comparison import Comparison, ModelRow
from latadj.utils.console import console

# Colour says the precision, the marker which model.
COLOURS = {"fp32": "#1f6fb4", "bf16": "#2e8b57", "int8": "#d9730d"}
MARKERS = "osD^vP*X<>hpd8"
COLUMNS = (
    *("name", "precision", "speedup", "target", "validation_drop", "metric", "metric_low", "metric_high"),
    *("drop", "drop_low", "drop_high", "parameters", "parameters_total", "file_bytes", "memory_mb"),
    *("flops_speedup", "flops_over_plain", "measured_speedup", "measured_low", "measured_high"),
    *("over_plain", "over_plain_low", "over_plain_high"),
    *("measured_over_flops", "removed_over_flops", "latency_p50_ms"),
)


def print_comparison(comparison: Comparison) -> None:
    """Show a comparison on the terminal, as much of it as eighty characters hold; the files have all."""
    table = Table(title=_title(comparison), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "", "at"):
        table.add_column(name, no_wrap=True)
    for name in (comparison.metric, "drop", "params", "FLOPs", "measured", "own"):
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for row in comparison.models:
        cells = [row.name if row.name != before else "", row.precision, _asked(row)]
        cells += [f"{100 * row.metric:.2f}", f"{100 * row.drop:+.2f}", _millions(row.parameters)]
        cells += [f"{row.flops_speedup:.2f}x", *(times(value) for value in (row.measured_speedup, _own(row)))]
        table.add_row(*cells)
        before = row.name
    console.print(table)
    for note in notes(comparison):
        console.print(note, highlight=False, markup=False)


def comparison_markdown(comparison: Comparison, title: str | None = None) -> str:
    """A comparison as a Markdown document."""
    header = ["model", "precision", "at", "validation drop", comparison.metric, "95%", "drop, points", "95%"]
    header += ["parameters", "file MB", "memory MB", "FLOPs", "measured", "95%", "own", "95%"]
    header += ["own / FLOPs", "removed", "p50 ms"]
    lines = [
        f"### {title or _title(comparison)}",
        "",
        table_line(header),
        "| :--- | :--- |" + " ---: |" * (len(header) - 2),
    ]
    lines += [table_line(_cells(row)) for row in comparison.models]
    first = comparison.models[0].name
    removed = f"'removed' is the share of {first}'s time that is gone by that measure, over the share of its FLOPs."
    return "\n".join([*lines, "", *(f"- {note}" for note in [*notes(comparison), removed]), ""])


def comparisons_markdown(comparisons: Sequence[Comparison]) -> str:
    """Comparisons of one task: the first as a table, with others that have what it lacks, then all in brief.

    What it may lack are models, and precisions of them; in brief are drop and own speedup in fp32 over all seeds.
    """
    first = comparisons[0]
    if len(comparisons) == 1:
        return comparison_markdown(first)
    seeds = [f"seed {comparison.config['seed']}" for comparison in comparisons]
    lines = [
        "Drop in points (own speedup, share of the parameters) in fp32 over seeds of the whole recipe:",
        "",
        table_line(["model", *seeds, "mean"]),
        "| :--- |" + " ---: |" * (len(seeds) + 1),
    ]
    tables = [{row.name: row for row in one.models if row.precision == "fp32"} for one in comparisons]
    for name in dict.fromkeys(name for table in tables for name in table):
        rows = [table.get(name) for table in tables]  # a model may have been compared at some seeds only
        each = ["–" if row is None else _brief([row], one) for row, one in zip(rows, comparisons, strict=True)]
        lines.append(table_line([name, *each, _brief([row for row in rows if row is not None], first)]))
    more = [
        comparison_markdown(one, f"{_title(one)}, {seed}")
        for one, seed in zip(comparisons, seeds, strict=True)
        if not _compared(one) <= _compared(first)
    ]
    return "\n".join([comparison_markdown(first), *more, *lines, ""])


def _compared(comparison: Comparison) -> set[tuple[str, str]]:
    """Names of models, each with a precision."""
    return {(row.name, row.precision) for row in comparison.models}


def _brief(rows: Sequence[ModelRow], comparison: Comparison) -> str:
    """Mean drop of models, with the means of what makes up for it."""
    drop = 100 * sum(row.drop for row in rows) / len(rows)
    clocked = [own for row in rows if (own := _own(row)) is not None]
    faster = f"{sum(clocked) / len(clocked):.2f}x, " if clocked else ""
    whole = comparison.models[0].parameters
    return f"{drop:+.2f} ({faster}{sum(row.parameters for row in rows) / len(rows) / whole:.2f})"


def comparison_csv(comparison: Comparison) -> str:
    """A comparison as CSV, one row a model and precision, numbers unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in comparison.models:
        over = row.over_plain
        values = [row.name, row.precision, row.speedup, row.target, row.tried[-1].drop, row.metric, *row.metric_ci]
        values += [row.drop, *row.drop_ci, row.parameters, row.parameters_total, row.file_bytes, row.memory_mb]
        values += [row.flops_speedup, row.flops_over_plain, row.measured_speedup, *(row.ci or (None, None))]
        values += [over.speedup, *over.ci] if over else [None, None, None]
        values += [row.measured_over_flops, row.removed_over_flops, row.latency_ms.get("p50")]
        writer.writerow(["" if value is None else value for value in values])
    return out.getvalue()


def notes(comparison: Comparison) -> list[str]:
    """What has to be known to read the table."""
    where, first = comparison.environment, comparison.models[0].name
    size = comparison.config.get("task", {}).get("batch_size", "?")
    found = [
        f"Drops count from {first} in fp32, {100 * comparison.reference['metric']:.2f}, on the same "
        f"{comparison.test_examples} test examples; FLOPs and measured speedups from it as transformers runs it. "
        f"'own' is measured over {first} by latadj's engine in the same precision.",
        f"Where several speedups were asked for, the largest that lost at most {comparison.max_drop:g} points on "
        f"{comparison.validation_examples} validation examples was taken, before the test split was read.",
    ]
    whole = comparison.models[0].parameters
    if pruned := dict.fromkeys(row.name for row in comparison.models if row.parameters < whole):
        flattered = ", ".join(pruned)
        found.append(f"Pruning was judged by some of these examples, so that drops on them flatter {flattered}.")
    beyond = [row.key for row in comparison.models if not row.within]
    if beyond:
        found.append(f"More than that was lost on validation text by {', '.join(beyond)}.")
    if counted := [row.key for row in comparison.models if row.target == "flops" and row.speedup > 1]:
        found.append(
            f"'at' is counted in FLOPs for {', '.join(counted)}, and in measured time for other dials: what is not "
            "calibrated in a precision, by `latadj calibrate device.precision=`, has no marks in its time."
        )
    hard = {row.name: TopKAttention(tuple(row.topk_attention)) for row in comparison.models if row.topk_attention}
    found += [f"Selective hard attention in {name}: {chosen.text()}." for name, chosen in hard.items()]
    if comparison.left_out:
        found.append(f"Left out, since this device does not compute in it: {', '.join(comparison.left_out)}.")
    found.append(f"{where['processor']}, {where['threads']} threads, batch {size}, length-sorted.")
    warning = (where.get("quiet") or {}).get("warning")
    return [*found, *([f"Warning: {warning}."] if warning else [])]


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Points lost against speedup, a marker a model and a colour a precision, with both intervals; up is better."""
    rows = comparison.models
    timed = all(row.measured_speedup is not None for row in rows)
    figure = Figure(figsize=(8, 4.8), dpi=150)
    axes = figure.subplots()
    names = list(dict.fromkeys(row.name for row in rows))
    markers = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}
    for row in rows:
        x, y = (row.measured_speedup if timed else row.flops_speedup) or np.nan, 100 * row.drop
        across = _error(x, row.ci) if timed and row.ci else None
        up = _error(y, (100 * row.drop_ci[0], 100 * row.drop_ci[1]))
        look: dict[str, Any] = {"color": COLOURS[row.precision], "elinewidth": 1, "capsize": 2, "alpha": 0.9}
        axes.errorbar(x, y, xerr=across, yerr=up, fmt=markers[row.name], markersize=8, markeredgecolor="white", **look)
        if row.speedup > 1:
            axes.annotate(f"{row.speedup:g}x", (x, y), textcoords="offset points", xytext=(7, 5), fontsize=8)
    axes.axhline(0, color="#6b6b6b", linewidth=1)
    axes.axhline(comparison.max_drop, color="#6b6b6b", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel(
        f"measured speedup over {names[0]} in fp32 by transformers, length-sorted batches"
        if timed
        else "FLOPs speedup without padding"
    )
    axes.set_ylabel(f"{comparison.metric.replace('_', ' ')}: points lost (up is better)")
    axes.set_title(
        f"{comparison.model} on {comparison.task}; labels: the dial's speedup; dashed: {comparison.max_drop:g} points",
        loc="left",
        fontsize=10,
    )
    axes.grid(alpha=0.25)
    blank: dict[str, Any] = {"linestyle": "", "markersize": 8}
    shapes = [Line2D([], [], marker=markers[name], color="#444444", label=name, **blank) for name in names]
    used = [precision for precision in COLOURS if any(row.precision == precision for row in rows)]
    colours = [Line2D([], [], marker="s", color=COLOURS[name], label=name, **blank) for name in used]
    # Outside, since points may lie anywhere.
    axes.legend(handles=[*shapes, *colours], frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    save_figure(figure, path)


def _error(value: float, interval: tuple[float, float]) -> np.ndarray:
    """(2, 1) lengths of an error bar: below and above."""
    return np.clip([[value - interval[0]], [interval[1] - value]], 0, None)


def _cells(row: ModelRow) -> list[str]:
    over = row.over_plain
    cells = [row.name, row.precision, _asked(row), f"{100 * row.tried[-1].drop:+.2f}"]
    cells += [f"{100 * row.metric:.2f}", f"{100 * row.metric_ci[0]:.1f}–{100 * row.metric_ci[1]:.1f}"]
    cells += [f"{100 * row.drop:+.2f}", f"{100 * row.drop_ci[0]:+.2f} to {100 * row.drop_ci[1]:+.2f}"]
    cells += [_millions(row.parameters), f"{row.file_bytes / 1e6:.1f}"]
    cells += ["" if row.memory_mb is None else f"{row.memory_mb:.0f}", f"{row.flops_speedup:.2f}x"]
    cells += [times(row.measured_speedup), between(row.ci)]
    cells += [times(_own(row)), between(over.ci if over else None)]
    cells += ["" if ratio is None else f"{ratio:.2f}" for ratio in (row.measured_over_flops, row.removed_over_flops)]
    return [*cells, f"{row.latency_ms['p50']:.1f}" if row.latency_ms else ""]


def _title(comparison: Comparison) -> str:
    return f"{comparison.model} on {comparison.task}, {comparison.test_examples} test examples"


def _asked(row: ModelRow) -> str:
    return f"{row.speedup:g}x"


def _own(row: ModelRow) -> float | None:
    return row.over_plain.speedup if row.over_plain else None


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}M"
