"""The result of `latadj bench`: the dial against other runtimes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, ClassVar

import numpy as np

from latadj.reporting.results.base import Result, measured_on
from latadj.reporting.results.origin import Config, Environment
from latadj.reporting.table import Column, Document, Table, interval, speedup

REFERENCE = "sdpa_fp32"


@dataclass
class BackendTiming:
    """Milliseconds a batch of something that has no dial."""

    p50_ms: float
    p95_ms: float


@dataclass
class DialPoint:
    """One position of the dial.

    speedup : that the dial was set to
    predicted : that the latency model predicted
    measured : time of the same precision at dial 1 over the time here, with its 95% interval ``ci``
    flops_speedup : the same ratio in FLOPs
    """

    precision: str
    speedup: float
    predicted: float
    measured: float
    ci: tuple[float, float]
    flops_speedup: float
    p50_ms: float

    @property
    def name(self) -> str:
        """Its key in ``samples_s``, ``memory_mb`` and ``joules``, such as ``dial_fp32_2x``."""
        return dial_name(self.precision, self.speedup)

    @property
    def error(self) -> float:
        """How far the measured speedup lies from the one asked for, as a share of it; always positive."""
        return abs(self.measured / self.speedup - 1)


def dial_name(precision: str, speedup: float) -> str:
    """Name of a position of a precision's dial, such as ``dial_fp32_2x``."""
    return f"dial_{precision}_{speedup:g}x"


@dataclass
class Unreachable:
    """A position that the dial does not reach on this device, and how far it does reach."""

    precision: str
    speedup: float
    maximum: float


@dataclass
class Cell:
    """All that ran on batches of one shape, in turns.

    samples_s, memory_mb, joules : by name of a backend or :attr:`DialPoint.name`: raw seconds, peak memory, energy;
        empty where it was not kept or there is no counter
    """

    batch: int
    length: int
    backends: dict[str, BackendTiming]
    dial: list[DialPoint]
    unreachable: list[Unreachable] = field(default_factory=list)
    samples_s: dict[str, list[float]] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    joules: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"batch {self.batch}, length {self.length}"

    def p95_ms(self, name: str) -> float | None:
        """95th percentile of a backend or of a dial position; None for a position without samples."""
        if name in self.backends:
            return self.backends[name].p95_ms
        samples = self.samples_s.get(name)
        return float(np.percentile(samples, 95) * 1000) if samples else None

    def over_reference(self, p50_ms: float) -> float | None:
        """Speedup over the plain fp32 model; None where that did not run."""
        reference = self.backends.get(REFERENCE)
        return reference.p50_ms / p50_ms if reference else None


@dataclass
class Accuracy:
    """How well a precision's dial keeps its word: ``error`` of its positions above 1, over all cells."""

    precision: str
    points: int
    median: float
    worst: float
    where: str


@dataclass
class Bench(Result):
    """Everything `latadj bench` found."""

    SCHEMA: ClassVar[str] = "latadj.bench/2"
    FILE = "bench"
    FORMATS = ("csv", "md")
    PLOT = "plot_bench"

    cells: list[Cell]
    environment: Environment
    config: Config
    warnings: list[str] = field(default_factory=list)

    def accuracy(self) -> list[Accuracy]:
        """One entry a precision that has positions above 1; at 1 nothing is asked for."""
        turned = [(cell, point) for cell in self.cells for point in cell.dial if point.speedup > 1]
        found = []
        for precision in dict.fromkeys(point.precision for _, point in turned):
            mine = [(cell, point) for cell, point in turned if point.precision == precision]
            cell, worst = max(mine, key=lambda entry: entry[1].error)
            where = f"{worst.speedup:g}x at {cell.title}"
            found.append(Accuracy(precision, len(mine), median(point.error for _, point in mine), worst.error, where))
        return found

    def document(self) -> Document:
        """A table for each cell, then how far measured speedups are off."""
        return Document(
            [Table(cell.title, _columns([cell]), list(entries(cell)), _note(cell)) for cell in self.cells],
            [*_summary(self), *(f"Warning: {warning}" for warning in self.warnings)],
        )

    def csv_table(self) -> Table:
        """What ran in any cell, in one table."""
        return Table("", _columns(self.cells), [entry for cell in self.cells for entry in entries(cell)])

    def overview(self) -> Document:
        """A row for each cell: median milliseconds of the backends and of the dial."""
        points = {(point.precision, point.speedup): point.name for cell in self.cells for point in cell.dial}
        backends = dict.fromkeys(name for cell in self.cells for name in cell.backends)
        names = [*backends, *(points[key] for key in sorted(points))]

        def p50_ms(name: str) -> Callable[[Cell], float | None]:
            return lambda cell: next((entry.p50_ms for entry in entries(cell) if entry.name == name), None)

        columns = [
            Column("batch × length", lambda cell: f"{cell.batch} × {cell.length}"),
            *(Column(name.removeprefix("dial_").replace("_", " "), p50_ms(name), _digits) for name in names),
        ]
        note = f"Median milliseconds a batch. {measured_on(self.environment)[:-1]}; an empty cell is out of reach."
        return Document([Table("", columns, self.cells, note)], _summary(self))


@dataclass
class Entry:
    """Something that ran in a cell; ``point`` is None unless it is a position of the dial."""

    cell: Cell
    name: str
    p50_ms: float
    point: DialPoint | None = None


def entries(cell: Cell) -> Iterator[Entry]:
    """All that ran, backends first."""
    for name, timing in cell.backends.items():
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
        Column("name", lambda entry: entry.name, key="variant", shown=False),
        Column("backend", lambda entry: f"dial {entry.point.precision}" if entry.point else entry.name, left=True),
        Column("p50 ms", lambda entry: entry.p50_ms, _digits, key="p50_ms"),
        Column("p95 ms", lambda entry: entry.cell.p95_ms(entry.name), _digits, key="p95_ms", priority=2),
        speedup(
            f"vs {REFERENCE.split('_')[0]}",
            lambda entry: entry.cell.over_reference(entry.p50_ms),
            key=f"speedup_over_{REFERENCE}",
        ),
        Column("precision", of_point("precision"), key="precision", shown=False),
        Column("speedup", of_point("speedup"), "{:g}x", key="speedup"),
        speedup("predicted", of_point("predicted"), key="predicted", priority=1),
        speedup("measured", of_point("measured"), key="measured"),
        interval("measured", of_point("ci")),
        speedup("FLOPs", of_point("flops_speedup"), key="flops_speedup", priority=1),
        Column("peak MB", lambda entry: entry.cell.memory_mb.get(entry.name), _digits, key="memory_mb", shown=memory),
        Column("joules", lambda entry: entry.cell.joules.get(entry.name), _digits, key="joules", shown=energy),
    ]


def _note(cell: Cell) -> str:
    beyond = [f"{at.precision} {at.speedup:g}x (at most {at.maximum:.2f}x)" for at in cell.unreachable]
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
