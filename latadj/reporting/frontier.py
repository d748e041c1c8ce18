"""Draws ways to be fast on one task: ``python -m latadj.reporting.frontier docs/frontier.png docs/*.json``.

Speedups count from the full model on the same kernels in fp32, each from that of its own run, so that results of
several seeds, and of several machines, stand in one picture.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latadj.reporting.plots import BLUE, GREEN, GREY, ORANGE, new_figure, save
from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.sweep import Sweep
from latadj.utils.files import read_json

TOKENS, MIXED, STATIC = "tokens alone", "tokens and width", "static pruning, one model a point"
LOOKS = {MIXED: (BLUE, "o-"), TOKENS: (ORANGE, "s--"), STATIC: (GREEN, "^")}
# (speedup, metric × 100)
Point = tuple[float, float]


def points_of_sweep(sweep: Sweep) -> list[Point]:
    """A point for each position of a dial that was timed."""
    return [(row.over_own.speedup, 100 * row.metric) for row in sweep.rows if row.over_own is not None]


def points_of_pruned(comparison: Comparison) -> list[Point]:
    """A point for each pruned model that ran without a dial."""
    return [
        (row.over_plain.speedup, 100 * row.metric)
        for row in comparison.models
        if row.precision == "fp32" and row.target is None and row.over_plain and row.flops_over_plain > 1
    ]


def plot_frontier(sweeps: Sequence[Sweep], comparisons: Sequence[Comparison], path: Path) -> None:
    """Metric against measured speedup: dials as the mean over their seeds and all that they span, pruned models alone.

    Parameters
    ----------
    sweeps : of one task, timed, with the same speedups for each kind of dial
    """
    dials: dict[str, list[list[Point]]] = defaultdict(list)
    for sweep in sweeps:
        dials[MIXED if any(row.width < 1 for row in sweep.rows) else TOKENS].append(points_of_sweep(sweep))
    figure = new_figure()
    axes = figure.subplots()
    for name, runs in sorted(dials.items(), reverse=True):
        colour, look = LOOKS[name]
        shortest = min(map(len, runs))
        x, y = np.array([run[:shortest] for run in runs]).transpose(2, 0, 1)
        label = f"one dial: {name}" + (f", {len(runs)} seeds" if len(runs) > 1 else "")
        axes.plot(x.mean(axis=0), y.mean(axis=0), look, color=colour, label=label)
        if len(runs) > 1:
            axes.fill_between(x.mean(axis=0), y.min(axis=0), y.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        for row, point in zip(sweeps[0].rows, zip(x.mean(axis=0), y.mean(axis=0), strict=True), strict=False):
            if name == MIXED:
                axes.annotate(row.name, point, textcoords="offset points", xytext=(5, 6), fontsize=9)
    pruned = [point for comparison in comparisons for point in points_of_pruned(comparison)]
    if pruned:
        colour, look = LOOKS[STATIC]
        axes.plot(*zip(*pruned, strict=True), look, color=colour, markersize=6, label=STATIC)
    plain = [sweep.plain_metric for sweep in sweeps if sweep.plain_metric is not None]
    if plain:
        label = f"plain model {100 * np.mean(plain):.2f}"
        axes.axhline(100 * float(np.mean(plain)), color=GREY, linestyle="--", linewidth=1, label=label)
    first = sweeps[0]
    axes.set_title(f"{first.model} on {first.task}: labels are the dial's speedup", loc="left", fontsize=11)
    axes.set_xlabel("measured speedup over the full model on the same kernels, fp32")
    axes.set_ylabel(f"{first.metric.replace('_', ' ')} × 100")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")
    save(figure, path)


def main(arguments: Sequence[str]) -> None:
    """Draw the sweeps and comparisons in the ``.json`` files that follow the name of the picture.

    Raises
    ------
    ValueError
        if there is no timed sweep among them, or of another task than the first.
    """
    picture, *files = arguments
    sweeps: list[Sweep] = []
    comparisons: list[Comparison] = []
    for name in files:
        data = read_json(Path(name), "result", "measure it again")
        if data.get("schema") == Sweep.SCHEMA:
            sweeps.append(Sweep.from_json(data))
        elif data.get("schema") == Comparison.SCHEMA:
            comparisons.append(Comparison.from_json(data))
        else:
            raise ValueError(f"{name}: neither a sweep nor a comparison")
    sweeps = [sweep for sweep in sweeps if sweep.timed]
    tasks = {(sweep.model, sweep.task) for sweep in sweeps} | {(each.model, each.task) for each in comparisons}
    if not sweeps or len(tasks) > 1:
        raise ValueError(f"expected timed sweeps and comparisons of one model and task, got {sorted(tasks)}")
    plot_frontier(sweeps, comparisons, Path(picture))


if __name__ == "__main__":
    main(sys.argv[1:])
