"""The bench's result, typed; its JSON form is the one truth that tables and pictures are made from."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any, ClassVar

import numpy as np

from latadj.reporting.results.base import Result

REFERENCE = "sdpa_fp32"


@dataclass
class BackendTiming:
    """Milliseconds a batch of something that has no dial."""

    p50_ms: float
    p95_ms: float


@dataclass
class DialPoint:
    """One position of the dial.

    predicted : speedup that the latency model predicted
    measured : time of the same precision at dial 1 over the time here, with its 95% interval ``ci``
    flops_speedup : the same ratio in FLOPs
    """

    precision: str
    asked: float
    predicted: float
    measured: float
    ci: tuple[float, float]
    flops_speedup: float
    p50_ms: float

    @property
    def name(self) -> str:
        """Its key in ``samples_s``, ``memory_mb`` and ``joules``, such as ``dial_fp32_2x``."""
        return dial_name(self.precision, self.asked)

    @property
    def error(self) -> float:
        """How far the measured speedup lies from the one asked for, as a share of it; always positive."""
        return abs(self.measured / self.asked - 1)


def dial_name(precision: str, asked: float) -> str:
    """Name of a position of a precision's dial, such as ``dial_fp32_2x``."""
    return f"dial_{precision}_{asked:g}x"


@dataclass
class Unreachable:
    """A position that the dial does not reach on this device, and how far it does reach."""

    precision: str
    asked: float
    maximum: float


@dataclass
class Cell:
    """All that ran on batches of one shape, in turns.

    samples_s, memory_mb, joules : by name of a backend or :attr:`DialPoint.name`: raw seconds, peak memory, energy;
        empty where it was not kept or there is no counter
    """

    batch: int
    length: int
    contestants: dict[str, BackendTiming]
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
        if name in self.contestants:
            return self.contestants[name].p95_ms
        samples = self.samples_s.get(name)
        return float(np.percentile(samples, 95) * 1000) if samples else None

    def over_reference(self, p50_ms: float) -> float | None:
        """Speedup over the plain fp32 model; None where that did not run."""
        reference = self.contestants.get(REFERENCE)
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

    SCHEMA: ClassVar[str] = "latadj.bench/1"

    cells: list[Cell]
    environment: dict[str, Any]
    config: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    def accuracy(self) -> list[Accuracy]:
        """One entry a precision that has positions above 1; at 1 nothing is asked for."""
        turned = [(cell, point) for cell in self.cells for point in cell.dial if point.asked > 1]
        found = []
        for precision in dict.fromkeys(point.precision for _, point in turned):
            mine = [(cell, point) for cell, point in turned if point.precision == precision]
            cell, worst = max(mine, key=lambda entry: entry[1].error)
            where = f"{worst.asked:g}x at {cell.title}"
            found.append(Accuracy(precision, len(mine), median(point.error for _, point in mine), worst.error, where))
        return found
