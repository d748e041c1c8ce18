"""Pictures: accuracy or perplexity against speedup, and where the contribution lies."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from latadj.calibration.acc import Contribution
from latadj.reporting.cells import save_figure
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.sweep import Sweep

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter

BLUE, GREY, ORANGE = "#1f6fb4", "#6b6b6b", "#d9730d"
CONTROLS = {"recent": (ORANGE, "s--"), "random": ("#2e8b57", "^:")}
# Where the worst perplexity is so many times the best, a linear axis would flatten the curve that matters.
LOGARITHMIC_FROM = 3.0


def plot_sweep(sweep: Sweep, path: Path) -> None:
    """Metric against measured speedup, with both intervals and the full model's line."""
    rows = sorted(sweep.rows, key=lambda row: row.speedup)
    timed = all(row.measured for row in rows)
    x = np.array([row.measured["bucketed"].speedup if timed else row.flops_speedup for row in rows])
    y = 100 * np.array([row.metric for row in rows])
    low, high = (100 * np.array([row.metric_ci[side] for row in rows]) for side in (0, 1))
    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=150)
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95% interval")
    spread: Any = None
    if timed:
        cis = np.array([row.measured["bucketed"].ci for row in rows])
        spread = np.clip(np.array([x - cis[:, 0], cis[:, 1] - x]), 0, None)
    axes.errorbar(x, y, xerr=spread, fmt="o-", color=BLUE, capsize=3, label="one checkpoint, dial turned")
    full = max(sweep.baseline_metric, sweep.plain_metric or -np.inf)
    axes.axhline(100 * full, color=GREY, linestyle="--", linewidth=1, label=f"full model {100 * full:.1f}")
    for row, at, value in zip(rows, x, y, strict=True):
        axes.annotate(f"{row.speedup:g}x", (at, value), textcoords="offset points", xytext=(5, 6), fontsize=9)
    axes.set_xlabel(
        "measured speedup over the full model in length-sorted batches" if timed else "FLOPs speedup without padding"
    )
    axes.set_ylabel(f"{sweep.metric.replace('_', ' ')} × 100")
    axes.set_title(f"{sweep.model} on {sweep.task}: labels are the speedup asked for", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")
    _save(figure, path)


def plot_generation(sweep: GenerationSweep, path: Path) -> None:
    """Perplexity against measured speedup of the first token, with intervals, the plain model and the controls."""
    rows = sorted(sweep.rows, key=lambda row: row.speedup)
    x = np.array([row.flops_speedup if row.ttft_speedup is None else row.ttft_speedup for row in rows])
    y = np.array([row.metric for row in rows])
    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=150)
    low, high = (np.array([row.metric_ci[side] for row in rows]) for side in (0, 1))
    axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95% interval over documents")
    cis = np.array([row.ttft_ci or (at, at) for row, at in zip(rows, x, strict=True)])
    spread = np.clip(np.array([x - cis[:, 0], cis[:, 1] - x]), 0, None)
    axes.errorbar(x, y, xerr=spread, fmt="o-", color=BLUE, capsize=3, label="one checkpoint, dial turned")
    for name, (colour, look) in CONTROLS.items():
        known = [(at, row.controls[name]) for row, at in zip(rows, x, strict=True) if name in row.controls]
        if known:
            axes.plot(*zip(*known, strict=True), look, color=colour, markersize=4, label=f"score={name}, same cost")
    full = sweep.full_metric
    axes.axhline(full, color=GREY, linestyle="--", linewidth=1, label=f"full model {full:.2f}")
    for row, at, value in zip(rows, x, y, strict=True):
        axes.annotate(row.name, (at, value), textcoords="offset points", xytext=(5, -12), fontsize=9)
    worst = max([*high, *(value for row in rows for value in row.controls.values())])
    if worst > LOGARITHMIC_FROM * full:
        axes.set_yscale("log", subs=(2, 3, 5))
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(
        "measured speedup of the time to first token over the plain model" if sweep.timed else "FLOPs speedup"
    )
    axes.set_ylabel("perplexity of the continuation, lower is better")
    axes.set_title(f"{sweep.model} on {sweep.task}: labels are the speedup asked for", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper left")
    _save(figure, path)


def plot_contribution(contribution: Contribution, path: Path, title: str) -> None:
    """Heat map: ACC of tokens from strongest to weakest in each layer, layer ACC beside it."""
    shares = contribution.by_rank
    layers, ranks = shares.shape
    figure, axes = plt.subplots(figsize=(8, 1.6 + 0.42 * layers), dpi=150)
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
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    save_figure(figure, path)
    plt.close(figure)
