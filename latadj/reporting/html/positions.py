"""Sweeps of both kinds in one form: what a position of the dial gives and what it costs."""

from dataclasses import dataclass, field
from typing import Any

from latadj.reporting.html.components import minus
from latadj.reporting.results.generation import GenerationRow, GenerationSweep
from latadj.reporting.results.sweep import OWN, Measured, Row, Sweep


@dataclass(frozen=True)
class Position:
    """One position of the dial; what the clock shows is None where it was left out.

    quality : the headline metric, a fraction of 1, or a perplexity
    loss : against the better full model, positive = worse: a fraction of 1, or perplexity's relative increase
    measured : over the dial's own speedup 1
    over_full : over the full model: in length-sorted batches, or to its first token
    """

    speedup: float
    quality: float
    quality_ci: tuple[float, float]
    loss: float
    loss_ci: tuple[float, float]
    flops: float
    keep: list[float]
    controls: dict[str, float] = field(default_factory=dict)
    predicted: float | None = None
    measured: Measured | None = None
    over_full: Measured | None = None

    @property
    def name(self) -> str:
        return f"{self.speedup:g}x"


@dataclass(frozen=True)
class Results:
    """A sweep to look at.

    full : the better of the plain model and the checkpoint at speedup 1, which losses count from
    full_name : what ``Position.over_full`` is counted from, in words
    """

    sweep: Sweep | GenerationSweep
    model: str
    task: str
    metric: str
    generates: bool
    full: float
    plain: float | None
    own: float
    examples: int
    positions: list[Position]
    full_name: str
    target: str
    reach: float | None
    unreachable: list[float]

    @property
    def rows(self) -> list[Any]:
        """Its rows by rising speedup."""
        return sorted(self.sweep.rows, key=lambda row: row.speedup)

    @property
    def timed(self) -> bool:
        return all(position.over_full for position in self.positions)

    @property
    def marked(self) -> bool:
        """Whether every position was also timed against the dial's own speedup 1."""
        return all(position.measured for position in self.positions)

    def quality(self, value: float, digits: int = 2) -> str:
        """A value of the metric as it is written: percent without the sign, or perplexity."""
        return f"{value if self.generates else 100 * value:.{digits}f}"

    def loss(self, value: float) -> str:
        """A loss as it is written."""
        if self.generates:
            return minus(f"{value:+.1%}")
        return minus(f"{100 * value:+.2f}")

    @property
    def loss_name(self) -> str:
        return "increase" if self.generates else "drop, points"


def results_of(sweep: Sweep | GenerationSweep) -> Results:
    """A sweep's numbers, whichever kind it is."""
    common: dict[str, Any] = {
        name: getattr(sweep, name) for name in ("model", "task", "metric", "target", "reach", "unreachable")
    } | {"sweep": sweep}
    if isinstance(sweep, GenerationSweep):
        return Results(
            **common,
            generates=True,
            full=sweep.full_metric,
            plain=sweep.plain_metric,
            own=sweep.baseline_metric,
            examples=sweep.test_examples,
            positions=[_generated(row) for row in sorted(sweep.rows, key=lambda row: row.speedup)],
            full_name="time to first token of the plain model",
        )
    return Results(
        **common,
        generates=False,
        full=max(sweep.baseline_metric, sweep.plain_metric or sweep.baseline_metric),
        plain=sweep.plain_metric,
        own=sweep.baseline_metric,
        examples=sweep.test_examples,
        positions=[_classified(row) for row in sorted(sweep.rows, key=lambda row: row.speedup)],
        full_name="full model in length-sorted batches",
    )


def _classified(row: Row) -> Position:
    return Position(
        speedup=row.speedup,
        quality=row.metric,
        quality_ci=row.metric_ci,
        loss=row.drop,
        loss_ci=row.drop_ci,
        flops=row.flops_speedup,
        keep=row.keep,
        controls=row.controls,
        predicted=row.predicted,
        measured=row.measured.get(OWN),
        over_full=row.measured.get("bucketed"),
    )


def _generated(row: GenerationRow) -> Position:
    def measured(value: float | None, ci: tuple[float, float] | None) -> Measured | None:
        return None if value is None or ci is None else Measured(value, ci)

    return Position(
        speedup=row.speedup,
        quality=row.metric,
        quality_ci=row.metric_ci,
        loss=row.increase,
        loss_ci=row.increase_ci,
        flops=row.flops_speedup,
        keep=row.keep,
        controls=row.controls,
        predicted=row.predicted,
        measured=measured(row.ttft_own, row.ttft_own_ci),
        over_full=measured(row.ttft_speedup, row.ttft_ci),
    )
