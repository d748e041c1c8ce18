"""Pictures of results, drawn with matplotlib into PNG files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from latadj.calibration.make_dial import Contribution
from latadj.reporting.results.bench import Bench, Cell
from latadj.reporting.results.collected import Collected
from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.dial_sweep import DialSweep
from latadj.reporting.results.generation import LOGARITHMIC_FROM
from latadj.reporting.results.pruning import PruneResult
from latadj.utils.files import atomic_write

BLUE, GREY, ORANGE, GREEN = "#1f6fb4", "#6b6b6b", "#d9730d", "#2e8b57"


def new_figure(width: float = 8, height: float = 4.8, **options: Any) -> Figure:
    """An empty figure; it belongs to no window system."""
    return Figure(figsize=(width, height), dpi=150, **options)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def error_bars(values: Any, low: Any, high: Any) -> np.ndarray:
    """(2, points) lengths of error bars: below and above."""
    x = np.atleast_1d(values)
    return np.clip(np.array([x - np.atleast_1d(low), np.atleast_1d(high) - x]), 0, None)


# Hue says who runs it, dashes that it has no dial; the dial keeps blue, as in the other pictures.
LINES: dict[str, tuple[str, Any]] = {
    "sdpa_fp32": (GREY, "-"),
    "sdpa_bf16": (GREY, ":"),
    "torch_compile_fp32": ("#8e44ad", "--"),
    "onnxruntime_fp32": (ORANGE, "--"),
    "onnxruntime_int8": (ORANGE, ":"),
    "openvino_fp32": (GREEN, "--"),
    "openvino_int8": (GREEN, ":"),
}
DIAL = {"fp32": (BLUE, "o"), "bf16": ("#0b3c66", "s")}
RUNTIME = "onnxruntime"


def plot_bench(bench: Bench, path: Path) -> None:
    """One panel a cell: the dial's milliseconds against the requested speedup, every backend a level to pass."""
    cells = sorted(bench.cells, key=lambda cell: (cell.batch, cell.length))
    grid = len({cell.batch for cell in cells}), len({cell.length for cell in cells})
    if grid[0] * grid[1] != len(cells):  # not every length at every batch size: just side by side
        grid = math.ceil(len(cells) / 3), min(3, len(cells))
    figure = new_figure(max(3.3 * grid[1], 7.5), 2.9 * grid[0] + 1.3, layout="constrained")
    panels = figure.subplots(*grid, squeeze=False).flat
    drawn: dict[str, Any] = {}
    for panel, cell in zip(panels, cells, strict=False):
        drawn |= _draw(panel, cell)
    for panel in panels[len(cells) :]:
        panel.set_visible(False)
    figure.supxlabel("requested speedup of the dial", fontsize=10)
    figure.supylabel("milliseconds a batch, median (log)", fontsize=10)
    columns = 3 if grid[1] < 4 else 5
    figure.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    save(figure, path)


def _draw(panel: Any, cell: Cell) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name, found in cell.backends.items():
        colour, dashes = LINES.get(name, ("#a0a0a0", "-."))
        drawn[name] = panel.axhline(found.p50_ms, color=colour, linestyle=dashes, linewidth=1.5)
    for precision in dict.fromkeys(point.precision for point in cell.dial):
        points = sorted((p for p in cell.dial if p.precision == precision), key=lambda point: point.speedup)
        colour, marker = DIAL.get(precision, (BLUE, "^"))
        x, y = [point.speedup for point in points], [point.p50_ms for point in points]
        drawn[f"dial {precision}"] = panel.plot(x, y, marker=marker, color=colour, linewidth=2, markersize=5)[0]
    panel.set_yscale("log")
    speedups = sorted({point.speedup for point in cell.dial}) or [1.0]
    speedups = speedups if len(speedups) <= 8 else [speedup for speedup in speedups if speedup == int(speedup)]
    panel.set_xticks(speedups, [f"{speedup:g}x" for speedup in speedups])
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    low, high = panel.get_ylim()
    for name, found in cell.backends.items():
        if name.startswith(RUNTIME):  # below two of its levels the shades add up
            shade = panel.axhspan(low, found.p50_ms, color=LINES[RUNTIME + "_fp32"][0], alpha=0.07, linewidth=0)
            drawn["faster than ONNX Runtime"] = shade
    panel.set_ylim(low, high)
    panel.set_title(cell.title, loc="left", fontsize=10)
    panel.tick_params(labelsize=8)
    panel.grid(axis="y", alpha=0.2)
    return drawn


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


CONTROLS = {"recent": (ORANGE, "s--"), "random": (GREEN, "^:")}


def plot_sweep(sweep: DialSweep, path: Path) -> None:
    """Metric against measured speedup, with both intervals, the full model's line and the controls."""
    rows, timed, scale, full = sweep.rows, sweep.timed, 100 if sweep.greater_is_better else 1, sweep.full_metric
    x = [row.over_full.speedup if timed else row.flops_speedup for row in rows]
    y = scale * np.array([row.metric for row in rows])
    low, high = scale * np.array([row.metric_ci for row in rows]).T
    figure = new_figure()
    axes = figure.subplots()
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95% interval")
    across = error_bars(np.array(x), *np.array([row.over_full.ci for row in rows]).T) if timed else None
    axes.errorbar(x, y, xerr=across, fmt="o-", color=BLUE, capsize=3, label="one checkpoint, dial turned")
    for name, (colour, look) in CONTROLS.items():
        points = [(at, scale * row.controls[name]) for row, at in zip(rows, x, strict=True) if name in row.controls]
        if points:
            axes.plot(*zip(*points, strict=True), look, color=colour, markersize=4, label=f"score={name}, same cost")
    label = f"full model {sweep.percent(full)}"
    axes.axhline(scale * full, color=GREY, linestyle="--", linewidth=1, label=label)
    for row, point in zip(rows, zip(x, y, strict=True), strict=True):
        offset = (5, 6 if sweep.greater_is_better else -12)
        axes.annotate(row.name, point, textcoords="offset points", xytext=offset, fontsize=9)
    worst = max([*high, *(value for row in rows for value in row.controls.values())])
    if not sweep.greater_is_better and worst > LOGARITHMIC_FROM * full:
        axes.set_yscale("log", subs=(2, 3, 5))
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(f"{sweep.model} on {sweep.task}: labels are the dial's speedup", loc="left", fontsize=11)
    axes.set_xlabel(f"measured speedup over the {sweep.FULL}" if timed else "FLOPs speedup without padding")
    metric = sweep.metric.replace("_", " ")
    axes.set_ylabel(f"{metric} × 100" if sweep.greater_is_better else f"{metric} of the continuation, lower is better")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc=f"{'lower' if sweep.greater_is_better else 'upper'} left")
    save(figure, path)


def plot_collected(collected: Collected, path: Path) -> None:
    """One panel a model and task: metric against speedup, a line a setting, with the intervals over seeds."""
    groups = collected.groups()
    columns = min(len(groups), 3)
    figure = new_figure(max(8.0, 5.5 * columns), 4.8 * math.ceil(len(groups) / columns), layout="constrained")
    panels = list(figure.subplots(math.ceil(len(groups) / columns), columns, squeeze=False).flat)
    for panel, rows in zip(panels, groups, strict=False):
        timed = all(row.over_full is not None for row in rows)
        for place, setting in enumerate(dict.fromkeys(row.setting for row in rows)):
            own = [row for row in rows if row.setting == setting]
            across = [row.over_full for row in own if row.over_full is not None] if timed else None
            x = np.array([mean.value for mean in across] if across else [row.flops_speedup for row in own])
            y = np.array([row.scale * row.metric.value for row in own])
            bounds = [[row.scale * end for end in row.metric.ci or (row.metric.value,) * 2] for row in own]
            spread = error_bars(x, *np.array([mean.ci or (mean.value,) * 2 for mean in across]).T) if across else None
            look: dict[str, Any] = {"capsize": 3, "linewidth": 1.5, "elinewidth": 1, "label": setting or None}
            panel.errorbar(x, y, xerr=spread, yerr=error_bars(y, *np.array(bounds).T), fmt=f"{_marker(place)}-", **look)
            for row, point in zip(own, zip(x, y, strict=True), strict=True):
                panel.annotate(f"{row.speedup:g}x", point, textcoords="offset points", xytext=(5, 6), fontsize=8)
        first = rows[0]
        panel.set_title(f"{first.model} on {first.task}", loc="left", fontsize=11)
        panel.set_xlabel("measured speedup over the full model" if timed else "FLOPs speedup without padding")
        panel.set_ylabel(first.metric_name.replace("_", " ") + (" × 100" if first.scale != 1 else ", lower is better"))
        panel.grid(alpha=0.25)
        if any(row.setting for row in rows):
            panel.legend(frameon=False, fontsize=8)
    for panel in panels[len(groups) :]:
        panel.set_visible(False)
    save(figure, path)


def _marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


GONE = "#e6e6e6"


def plot_structure(result: PruneResult, path: Path) -> None:
    """Picture of each model: a square for each head of each layer and a bar for its neurons, blue where they stay."""
    models = result.frontier
    layers = len(models[0].layers)
    most = max(layer.of_heads for layer in models[0].layers)
    bar = max(most * 0.6, 4.0)
    figure = new_figure(1.2 + 5.2 * len(models), 1.6 + 0.42 * layers)
    panels = figure.subplots(1, len(models), squeeze=False)
    for model, axes in zip(models, panels[0], strict=True):
        for place, layer in enumerate(model.layers):
            for head in range(layer.of_heads):
                colour = BLUE if head in layer.heads else GONE
                axes.add_patch(Rectangle((head + 0.08, place + 0.12), 0.84, 0.76, color=colour))
            start, share = most + 1.0, layer.neurons / layer.of_neurons
            axes.add_patch(Rectangle((start, place + 0.12), bar, 0.76, color=GONE))
            axes.add_patch(Rectangle((start, place + 0.12), bar * share, 0.76, color=BLUE))
            axes.text(start + bar + 0.2, place + 0.5, str(layer.neurons), va="center", fontsize=8, color=GREY)
        axes.set_xlim(0, most + bar + 3.2)
        axes.set_ylim(0, layers)
        axes.set_yticks([place + 0.5 for place in range(layers)], [f"layer {place + 1}" for place in range(layers)])
        axes.set_xticks([most / 2, most + 1 + bar / 2], ["attention heads", "feed-forward neurons"])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_title("what stays" if model.budget is None else f"budget {model.budget:g}", loc="left", fontsize=10)
    figure.suptitle(f"{result.model} on {result.task}: blue stays", x=0.02, ha="left", fontsize=11)
    save(figure, path)


def plot_contribution(contribution: Contribution, path: Path, title: str) -> None:
    """Heat map: ACC of tokens from strongest to weakest in each layer, layer ACC beside it."""
    shares = contribution.by_rank
    layers, ranks = shares.shape
    figure = new_figure(height=1.6 + 0.42 * layers)
    axes = figure.subplots()
    image = axes.imshow(np.log2(np.clip(shares, 1 / 16, 16)), aspect="auto", cmap="viridis", vmin=-4, vmax=4)
    for layer, value in enumerate(contribution.layer_acc):
        axes.plot([value * ranks - 0.5] * 2, [layer - 0.5, layer + 0.5], color="white", linewidth=2)
        axes.text(ranks + 0.3, layer, f"{value:.2f}", va="center", fontsize=9)
    axes.set_yticks(range(layers), [f"layer {layer}" for layer in range(1, layers + 1)])
    axes.set_xticks(np.linspace(-0.5, ranks - 0.5, 5), ["strongest", "25%", "50%", "75%", "weakest"])
    axes.set_xlabel("tokens by Attention Context Contribution; white: layer ACC, at right in numbers")
    axes.set_title(title, loc="left", fontsize=11)
    bar = figure.colorbar(image, ax=axes, pad=0.09, ticks=[-4, -2, 0, 2, 4])
    bar.ax.set_yticklabels(["1/16", "1/4", "1", "4", "16"])
    bar.set_label("times an equal share")
    save(figure, path)
