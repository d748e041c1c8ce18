"""Models side by side."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from latadj.reporting.plots.figure import BLUE, GREEN, GREY, ORANGE, error_bars, new_figure, save
from latadj.reporting.results.comparison import Comparison

# Colour says the precision, the marker which model.
COLOURS = {"fp32": BLUE, "bf16": GREEN, "int8": ORANGE}
MARKERS = "osD^vP*X<>hpd8"


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Points lost against speedup, a marker a model and a colour a precision, with both intervals; up is better."""
    rows = comparison.models
    timed = all(row.measured_speedup is not None for row in rows)
    figure = new_figure()
    axes = figure.subplots()
    names = list(dict.fromkeys(row.name for row in rows))
    markers = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(names)}
    for row in rows:
        x, y = (row.measured_speedup if timed else row.flops_speedup) or np.nan, 100 * row.drop
        across = error_bars(x, *row.ci) if timed and row.ci else None
        up = error_bars(y, 100 * row.drop_ci[0], 100 * row.drop_ci[1])
        look: dict[str, Any] = {"color": COLOURS[row.precision], "elinewidth": 1, "capsize": 2, "alpha": 0.9}
        axes.errorbar(x, y, xerr=across, yerr=up, fmt=markers[row.name], markersize=8, markeredgecolor="white", **look)
        if row.speedup > 1:
            axes.annotate(f"{row.speedup:g}x", (x, y), textcoords="offset points", xytext=(7, 5), fontsize=8)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.axhline(comparison.max_drop, color=GREY, linewidth=1, linestyle="--")
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
    save(figure, path)
