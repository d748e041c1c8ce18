"""The dial against other runtimes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from latadj.reporting.results.bench import REFERENCE, Bench, Cell, DialPoint
from latadj.reporting.table import Column, Document, Table, interval, speedup
from latadj.reporting.tables.environment import measured_on


@dataclass
class Entry:
    """Something that ran in a cell; ``point`` is None unless it is a position of the dial."""

    cell: Cell
    name: str
    p50_ms: float
    point: DialPoint | None = None


def document(bench: Bench) -> Document:
    """A table for each cell, then how far measured speedups are off."""
    return Document(
        [Table(cell.title, _columns([cell]), list(entries(cell)), _note(cell)) for cell in bench.cells],
        [*_summary(bench), *(f"Warning: {warning}" for warning in bench.warnings)],
    )


def all_cells(bench: Bench) -> Table:
    """What ran in any cell, in one table."""
    return Table("", _columns(bench.cells), [entry for cell in bench.cells for entry in entries(cell)])


def overview(bench: Bench) -> Document:
    """A row for each cell: median milliseconds of the backends and of the dial."""
    points = {(point.precision, point.asked): point.name for cell in bench.cells for point in cell.dial}
    backends = dict.fromkeys(name for cell in bench.cells for name in cell.contestants)
    names = [*backends, *(points[key] for key in sorted(points))]

    def p50_ms(name: str) -> Callable[[Cell], float | None]:
        return lambda cell: next((entry.p50_ms for entry in entries(cell) if entry.name == name), None)

    columns = [
        Column("batch × length", lambda cell: f"{cell.batch} × {cell.length}"),
        *(Column(name.removeprefix("dial_").replace("_", " "), p50_ms(name), _digits) for name in names),
    ]
    note = f"Median milliseconds a batch. {measured_on(bench.environment)[:-1]}; an empty cell is out of reach."
    return Document([Table("", columns, bench.cells, note)], _summary(bench))


def entries(cell: Cell) -> Iterator[Entry]:
    """All that ran, backends first."""
    for name, timing in cell.contestants.items():
        yield Entry(cell, name, timing.p50_ms)
    for point in cell.dial:
        yield Entry(cell, point.name, point.p50_ms, point)


def _columns(cells: list[Cell]) -> list[Column]:
    """Memory and energy are shown where they were counted."""

    def of_point(name: str) -> Callable[[Entry], Any]:
        return lambda entry: None if entry.point is None else getattr(entry.point, name)

    memory, energy = any(cell.memory_mb for cell in cells), any(cell.joules for cell in cells)
    return [
        Column("batch", lambda entry: entry.cell.batch, key="batch", shown=False),
        Column("length", lambda entry: entry.cell.length, key="length", shown=False),
        Column("name", lambda entry: entry.name, key="contestant", shown=False),
        Column("backend", lambda entry: f"dial {entry.point.precision}" if entry.point else entry.name, left=True),
        Column("p50 ms", lambda entry: entry.p50_ms, _digits, key="p50_ms"),
        Column("p95 ms", lambda entry: entry.cell.p95_ms(entry.name), _digits, key="p95_ms", priority=2),
        speedup(
            f"vs {REFERENCE.split('_')[0]}",
            lambda entry: entry.cell.over_reference(entry.p50_ms),
            key=f"speedup_over_{REFERENCE}",
        ),
        Column("precision", of_point("precision"), key="precision", shown=False),
        Column("speedup", of_point("asked"), "{:g}x", key="asked"),
        speedup("predicted", of_point("predicted"), key="predicted", priority=1),
        speedup("measured", of_point("measured"), key="measured"),
        interval("measured", of_point("ci")),
        speedup("FLOPs", of_point("flops_speedup"), key="flops_speedup", priority=1),
        Column("peak MB", lambda entry: entry.cell.memory_mb.get(entry.name), _digits, key="memory_mb", shown=memory),
        Column("joules", lambda entry: entry.cell.joules.get(entry.name), _digits, key="joules", shown=energy),
    ]


def _note(cell: Cell) -> str:
    beyond = [f"{at.precision} {at.asked:g}x (at most {at.maximum:.2f}x)" for at in cell.unreachable]
    return f"Out of reach on this device: {', '.join(beyond)}." if beyond else ""


def _summary(bench: Bench) -> list[str]:
    return [
        f"{dial.precision} dial: measured speedup off the requested one by {dial.median:.1%} in the median, "
        f"{dial.worst:.1%} at worst ({dial.where}), over {dial.points} position{'s' * (dial.points != 1)}"
        for dial in bench.accuracy()
    ]


def _digits(value: float) -> str:
    """Three digits or so, whatever the size: batches take from under a millisecond to many seconds."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
