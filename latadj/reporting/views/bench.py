"""A bench to look at: rich for the terminal, Markdown, CSV and one picture."""

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from latadj.reporting.cells import between, table_line, times
from latadj.reporting.results.bench import REFERENCE, Bench, Cell, DialPoint
from latadj.utils.console import console
from latadj.utils.files import atomic_write

# Hue says who runs it, dashes that it has no dial; the dial keeps blue, as in the other pictures.
LINES: dict[str, tuple[str, Any]] = {
    "sdpa_fp32": ("#6b6b6b", "-"),
    "sdpa_bf16": ("#6b6b6b", ":"),
    "torch_compile_fp32": ("#8e44ad", "--"),
    "onnxruntime_fp32": ("#d9730d", "--"),
    "onnxruntime_int8": ("#d9730d", ":"),
    "openvino_fp32": ("#2e8b57", "--"),
}
DIAL = {"fp32": ("#1f6fb4", "o"), "bf16": ("#0b3c66", "s")}
RUNTIME = "onnxruntime"


def print_bench(bench: Bench) -> None:
    """Show a bench on the terminal, one table a cell, then how well the dial keeps its word."""
    for cell in bench.cells:
        header, rows = _table(cell)
        look: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False}  # nine columns in eighty characters
        table = Table(title=cell.title, title_justify="left", caption=_caption(cell), caption_justify="left", **look)
        table.add_column(header[0], no_wrap=True)
        for name in header[1:]:
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in [*_summary(bench), *(f"Warning: {warning}" for warning in bench.warnings)]:
        console.print(line, highlight=False, markup=False)


def bench_markdown(bench: Bench) -> str:
    """A bench as a Markdown document."""
    parts = []
    for cell in bench.cells:
        header, rows = _table(cell)
        parts += [f"### {cell.title}", "", table_line(header), "| :--- |" + " ---: |" * (len(header) - 1)]
        parts += [*map(table_line, rows), "", *filter(None, [_caption(cell)]), ""]
    parts += [f"- {line}" for line in [*_summary(bench), *bench.warnings]]
    return "\n".join([*parts, ""])


def bench_overview(bench: Bench) -> str:
    """A bench in one Markdown table, a row a cell: median milliseconds of the contestants and of the dial."""
    points = {(point.precision, point.asked): point.name for cell in bench.cells for point in cell.dial}
    names = [
        *dict.fromkeys(name for cell in bench.cells for name in cell.contestants),
        *(points[key] for key in sorted(points)),
    ]
    labels = [name.removeprefix("dial_").replace("_", " ") for name in names]
    lines = [table_line(["batch × length", *labels]), "|" + " ---: |" * (len(names) + 1)]
    for cell in bench.cells:
        found = {name: p50_ms for name, p50_ms, _ in _entries(cell)}
        lines.append(table_line([f"{cell.batch} × {cell.length}", *(_number(found.get(name)) for name in names)]))
    where = bench.environment
    told = (
        f"Median milliseconds a batch. {where['processor']}, {where['threads']} threads; an empty cell is out of reach."
    )
    return "\n".join([*lines, "", told, "", *(f"- {line}" for line in _summary(bench)), ""])


def bench_csv(bench: Bench) -> str:
    """A bench as CSV, one row a contestant or dial position in a cell, numbers unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    timed_columns = ["p50_ms", "p95_ms", f"speedup_over_{REFERENCE}"]
    dial_columns = ["precision", "asked", "predicted", "measured", "measured_low", "measured_high", "flops_speedup"]
    writer.writerow(["batch", "length", "contestant", *timed_columns, *dial_columns, "memory_mb", "joules"])
    for cell in bench.cells:
        for name, p50_ms, point in _entries(cell):
            dial: list[Any] = [""] * len(dial_columns)
            if point:
                dial = [point.precision, point.asked, point.predicted, point.measured, *point.ci, point.flops_speedup]
            timed = [p50_ms, cell.p95_ms(name), cell.over_reference(p50_ms)]
            spent = [cell.memory_mb.get(name), cell.joules.get(name)]
            writer.writerow([cell.batch, cell.length, name, *timed, *dial, *spent])
    return out.getvalue()


def plot_bench(bench: Bench, path: Path) -> None:
    """One panel a cell: the dial's milliseconds against the speedup asked for, every contestant a level to pass."""
    cells = sorted(bench.cells, key=lambda cell: (cell.batch, cell.length))
    grid = len({cell.batch for cell in cells}), len({cell.length for cell in cells})
    if grid[0] * grid[1] != len(cells):  # not every length at every batch size: just side by side
        grid = math.ceil(len(cells) / 3), min(3, len(cells))
    figure = Figure(figsize=(max(3.3 * grid[1], 7.5), 2.9 * grid[0] + 1.3), dpi=150, layout="constrained")
    panels = figure.subplots(*grid, squeeze=False).flat
    drawn: dict[str, Any] = {}
    for panel, cell in zip(panels, cells, strict=False):
        drawn |= _draw(panel, cell)
    for panel in panels[len(cells) :]:
        panel.set_visible(False)
    figure.supxlabel("speedup that the dial was asked for", fontsize=10)
    figure.supylabel("milliseconds a batch, median (log)", fontsize=10)
    columns = 3 if grid[1] < 4 else 5
    figure.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def _draw(panel: Any, cell: Cell) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name, found in cell.contestants.items():
        colour, dashes = LINES.get(name, ("#a0a0a0", "-."))
        drawn[name] = panel.axhline(found.p50_ms, color=colour, linestyle=dashes, linewidth=1.5)
    for precision in dict.fromkeys(point.precision for point in cell.dial):
        points = sorted((p for p in cell.dial if p.precision == precision), key=lambda point: point.asked)
        colour, marker = DIAL.get(precision, ("#1f6fb4", "^"))
        x, y = [point.asked for point in points], [point.p50_ms for point in points]
        drawn[f"dial {precision}"] = panel.plot(x, y, marker=marker, color=colour, linewidth=2, markersize=5)[0]
    panel.set_yscale("log")
    asked = sorted({point.asked for point in cell.dial}) or [1.0]
    asked = asked if len(asked) <= 8 else [speedup for speedup in asked if speedup == int(speedup)]
    panel.set_xticks(asked, [f"{speedup:g}x" for speedup in asked])
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


def _entries(cell: Cell) -> Iterator[tuple[str, float, DialPoint | None]]:
    """Name, median milliseconds and dial position of all that ran, contestants first."""
    for name, found in cell.contestants.items():
        yield name, found.p50_ms, None
    for point in cell.dial:
        yield point.name, point.p50_ms, point


def _table(cell: Cell) -> tuple[list[str], list[list[str]]]:
    header = [
        "contestant",
        "p50 ms",
        "p95 ms",
        f"vs {REFERENCE.split('_')[0]}",
        "asked",
        "predicted",
        "measured",
        "95%",
        "FLOPs",
    ]
    extra = [(head, values) for head, values in (("peak MB", cell.memory_mb), ("joules", cell.joules)) if values]
    rows = []
    for name, p50_ms, point in _entries(cell):
        row = [f"dial {point.precision}" if point else name, _number(p50_ms), _number(cell.p95_ms(name))]
        row.append(times(cell.over_reference(p50_ms)))
        if point:
            row += [f"{point.asked:g}x", times(point.predicted), times(point.measured)]
            row += [between(point.ci), times(point.flops_speedup)]
        else:
            row += [""] * 5
        rows.append([*row, *(_number(values.get(name)) for _, values in extra)])
    return [*header, *(head for head, _ in extra)], rows


def _caption(cell: Cell) -> str:
    beyond = [f"{at.precision} {at.asked:g}x (at most {at.maximum:.2f}x)" for at in cell.unreachable]
    return f"Out of reach on this device: {', '.join(beyond)}." if beyond else ""


def _summary(bench: Bench) -> list[str]:
    return [
        f"{found.precision} dial: measured speedup off the asked one by {found.median:.1%} in the median, "
        f"{found.worst:.1%} at worst ({found.where}), over {found.points} position{'s' * (found.points != 1)}"
        for found in bench.accuracy()
    ]


def _number(value: float | None) -> str:
    """Three digits or so, whatever the size: batches take from under a millisecond to many seconds."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
