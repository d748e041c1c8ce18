"""The dial against other runtimes."""

import math
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from latadj.reporting.plots.figure import BLUE, GREEN, GREY, ORANGE, new_figure, save
from latadj.reporting.results.bench import Bench, Cell

# Hue says who runs it, dashes that it has no dial; the dial keeps blue, as in the other pictures.
LINES: dict[str, tuple[str, Any]] = {
    "sdpa_fp32": (GREY, "-"),
    "sdpa_bf16": (GREY, ":"),
    "torch_compile_fp32": ("#8e44ad", "--"),
    "onnxruntime_fp32": (ORANGE, "--"),
    "onnxruntime_int8": (ORANGE, ":"),
    "openvino_fp32": (GREEN, "--"),
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
    for name, found in cell.contestants.items():
        colour, dashes = LINES.get(name, ("#a0a0a0", "-."))
        drawn[name] = panel.axhline(found.p50_ms, color=colour, linestyle=dashes, linewidth=1.5)
    for precision in dict.fromkeys(point.precision for point in cell.dial):
        points = sorted((p for p in cell.dial if p.precision == precision), key=lambda point: point.asked)
        colour, marker = DIAL.get(precision, (BLUE, "^"))
        x, y = [point.asked for point in points], [point.p50_ms for point in points]
        drawn[f"dial {precision}"] = panel.plot(x, y, marker=marker, color=colour, linewidth=2, markersize=5)[0]
    panel.set_yscale("log")
    speedups = sorted({point.asked for point in cell.dial}) or [1.0]
    speedups = speedups if len(speedups) <= 8 else [speedup for speedup in speedups if speedup == int(speedup)]
    panel.set_xticks(speedups, [f"{speedup:g}x" for speedup in speedups])
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    low, high = panel.get_ylim()
    for name, found in cell.contestants.items():
        if name.startswith(RUNTIME):  # below two of its levels the shades add up
            shade = panel.axhspan(low, found.p50_ms, color=LINES[RUNTIME + "_fp32"][0], alpha=0.07, linewidth=0)
            drawn["faster than ONNX Runtime"] = shade
    panel.set_ylim(low, high)
    panel.set_title(cell.title, loc="left", fontsize=10)
    panel.tick_params(labelsize=8)
    panel.grid(axis="y", alpha=0.2)
    return drawn
