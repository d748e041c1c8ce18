"""Accuracy or perplexity against speedup."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from latadj.reporting.plots.figure import BLUE, GREEN, GREY, ORANGE, error_bars, new_figure, save
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.sweep import Sweep

CONTROLS = {"recent": (ORANGE, "s--"), "random": (GREEN, "^:")}
# Where the worst perplexity is so many times the best, a linear axis would flatten the curve that matters.
LOGARITHMIC_FROM = 3.0
Interval = tuple[float, float]


def plot_sweep(sweep: Sweep, path: Path) -> None:
    """Metric against measured speedup, with both intervals and the full model's line."""
    rows = sorted(sweep.rows, key=lambda row: row.speedup)
    timed = all(row.measured for row in rows)
    full = max(sweep.baseline_metric, sweep.plain_metric or -np.inf)
    figure, axes, _ = _curve(
        sweep,
        x=[row.measured["bucketed"].speedup if timed else row.flops_speedup for row in rows],
        x_cis=[row.measured["bucketed"].ci for row in rows] if timed else None,
        y=[100 * row.metric for row in rows],
        y_cis=[(100 * row.metric_ci[0], 100 * row.metric_ci[1]) for row in rows],
        band="95% interval",
    )
    axes.axhline(100 * full, color=GREY, linestyle="--", linewidth=1, label=f"full model {100 * full:.1f}")
    _annotate(axes, [f"{row.speedup:g}x" for row in rows], below=False)
    axes.set_xlabel(
        "measured speedup over the full model in length-sorted batches" if timed else "FLOPs speedup without padding"
    )
    axes.set_ylabel(f"{sweep.metric.replace('_', ' ')} × 100")
    axes.legend(frameon=False, loc="lower left")
    save(figure, path)


def plot_generation(sweep: GenerationSweep, path: Path) -> None:
    """Perplexity against measured speedup of the first token, with intervals, the plain model and the controls."""
    rows = sorted(sweep.rows, key=lambda row: row.speedup)
    x = [row.flops_speedup if row.ttft_speedup is None else row.ttft_speedup for row in rows]
    figure, axes, worst = _curve(
        sweep,
        x=x,
        x_cis=[row.ttft_ci or (at, at) for row, at in zip(rows, x, strict=True)],
        y=[row.metric for row in rows],
        y_cis=[row.metric_ci for row in rows],
        band="95% interval over documents",
    )
    for name, (colour, look) in CONTROLS.items():
        points = [(at, row.controls[name]) for row, at in zip(rows, x, strict=True) if name in row.controls]
        if points:
            axes.plot(*zip(*points, strict=True), look, color=colour, markersize=4, label=f"score={name}, same cost")
    full = sweep.full_metric
    axes.axhline(full, color=GREY, linestyle="--", linewidth=1, label=f"full model {full:.2f}")
    _annotate(axes, [row.name for row in rows], below=True)
    if max([worst, *(value for row in rows for value in row.controls.values())]) > LOGARITHMIC_FROM * full:
        axes.set_yscale("log", subs=(2, 3, 5))
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(
        "measured speedup of the time to first token over the plain model" if sweep.timed else "FLOPs speedup"
    )
    axes.set_ylabel("perplexity of the continuation, lower is better")
    axes.legend(frameon=False, loc="upper left")
    save(figure, path)


def _curve(
    sweep: Sweep | GenerationSweep,
    *,
    x: Sequence[float],
    x_cis: Sequence[Interval] | None,
    y: Sequence[float],
    y_cis: Sequence[Interval],
    band: str,
) -> tuple[Any, Any, float]:
    """A figure with the dial's curve; its axes, and the largest end of an interval."""
    figure = new_figure()
    axes = figure.subplots()
    low, high = np.array(y_cis).T
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0, label=band)
    across = None if x_cis is None else error_bars(np.array(x), *np.array(x_cis).T)
    axes.errorbar(x, y, xerr=across, fmt="o-", color=BLUE, capsize=3, label="one checkpoint, dial turned")
    axes.set_title(f"{sweep.model} on {sweep.task}: labels are the dial's speedup", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    return figure, axes, float(high.max())


def _annotate(axes: Any, names: Sequence[str], *, below: bool) -> None:
    """Write the dial's speedup at each point of the curve."""
    points = axes.containers[0].lines[0].get_xydata()
    for name, point in zip(names, points, strict=True):
        axes.annotate(name, point, textcoords="offset points", xytext=(5, -12 if below else 6), fontsize=9)
