"""What the results of `latadj sweep` have in common, however quality is measured: a row for each speedup."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from latadj.elimination.levels import Level
from latadj.reporting.results.base import Result
from latadj.reporting.results.by_length import LengthGroup, length_warnings
from latadj.reporting.results.origin import Config, Environment
from latadj.reporting.table import Column, Table, speedup
from latadj.utils.serialization import Entries, Positive

if TYPE_CHECKING:  # a report is made of files, without torch
    from latadj.benchmark.timer import Interval

# Scores that any other has to beat at the same cost.
CONTROLS = ("recent", "random")

SPEEDUP = Column("speedup", lambda row: row.speedup, "{:g}x", key="speedup")
PREDICTED = speedup("predicted", lambda row: row.predicted, key="predicted", priority=1)
FLOPS = speedup("FLOPs", lambda row: row.flops_speedup, key="flops_speedup")


@dataclass
class Measured:
    """A wall-clock speedup over one baseline, with its 95% interval."""

    speedup: Positive
    ci: tuple[float, float]

    @classmethod
    def of(cls, interval: "Interval") -> "Measured":
        return cls(interval.median, (interval.low, interval.high))


@dataclass(kw_only=True)
class DialRow:
    """One position of the dial, however its quality is measured.

    keep : share of tokens that leave each layer, over the test texts or prompts (a trimmed last layer keeps one)
    profile, short_length, whole_length, level : what the dial asked for, as in
        :class:`latadj.elimination.profiles.Profile`
    width : share of the weights of all layers' linear layers that ran
    controls : metric by each control's score at the same profile, hence the same cost
    predicted : what the latency model predicts over the dial's speedup 1; None where the dial is marked in FLOPs
    by_length : what it costs for groups of texts of like length
    """

    speedup: Positive
    keep: Annotated[list[float], Entries(2**10, 1)]
    profile: list[float]
    profile_type: str
    metric: float
    flops_speedup: Positive
    controls: dict[str, float] = field(default_factory=dict)
    predicted: float | None = None
    short_length: float = 0.0
    whole_length: float = 0.0
    level: Level | None = None
    width: float = 1.0
    by_length: list[LengthGroup] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name in the raw samples, such as ``2x``."""
        return f"{self.speedup:g}x"

    def tracked(self, metric: str) -> dict[str, float]:
        """What a tracker of experiments gets of it: ``metric`` names the metric; numbers that were measured only."""
        numbers = {"speedup": self.speedup, metric: self.metric, "predicted_speedup": self.predicted}
        return {name: value for name, value in (numbers | self.timed()).items() if value is not None}

    def timed(self) -> dict[str, float | None]:
        """What the clock showed, by its name in a tracker; None where it was left out."""
        return {}


@dataclass(kw_only=True)
class DialSweep(Result):
    """What sweeps of all tasks have in common.

    A row is a :class:`DialRow` with ``loss``, ``over_own`` and ``over_full``.

    baseline_metric : the checkpoint at speedup 1
    plain_metric : the plain fine-tuned model, None where it is not kept
    target : what the dial was marked in, ``latency`` or ``flops``
    unreachable, reach : speedups asked for that this device does not reach, and the largest that it does
    """

    FILE = "sweep"
    FORMATS = ("csv", "md")
    PLOT = "plot_sweep"
    FULL: ClassVar[str]  # what the rows' ``over_full`` counts from

    model: str
    task: str
    metric: str
    greater_is_better: bool
    baseline_metric: float
    plain_metric: float | None
    test_examples: int
    rows: Sequence[Any]
    environment: Environment
    config: Config
    target: str = "flops"
    unreachable: list[float] = field(default_factory=list)
    reach: float | None = None

    def __post_init__(self) -> None:
        self.rows = sorted(self.rows, key=lambda row: row.speedup)

    def check(self) -> None:
        if len({len(row.keep) for row in self.rows}) > 1:
            raise ValueError("rows: not all have keep ratios of as many layers")
        for name, samples in self.timed_batches().items():
            if not samples or len({len(of_round) for of_round in samples}) > 1 or not samples[0]:
                raise ValueError(f"samples_s: the rounds of {name} are not all of the same batches")

    def timed_batches(self) -> dict[str, list[list[float]]]:
        """Raw seconds, name -> rounds -> batches or prompts; empty where nothing was timed."""
        raise NotImplementedError

    @property
    def full_metric(self) -> float:
        """The metric that losses count from: the better of the two full models'."""
        full = [self.baseline_metric, *([] if self.plain_metric is None else [self.plain_metric])]
        return max(full) if self.greater_is_better else min(full)

    @property
    def timed(self) -> bool:
        """Whether all rows were timed against the full model."""
        return all(row.over_full for row in self.rows)

    def groups(self) -> dict[str, list[LengthGroup]]:
        """What each position costs texts of like length."""
        return {row.name: row.by_length for row in self.rows}

    def by_length(self) -> list[Table]:
        """What each position costs texts of like length; nothing where their lengths do not differ."""
        raise NotImplementedError

    def length_warnings(self) -> list[str]:
        """Groups that lose far more than the average."""
        return [text for row in self.rows for text in length_warnings(row.name, row.loss[0], row.by_length)]

    def percent(self, value: float) -> str:
        """A value of the metric as it is written: percent without the sign, or a perplexity."""
        return f"{100 * value if self.greater_is_better else value:.2f}"


def width_column(rows: Sequence[Any]) -> Column:
    """How wide the layers are, where any row has a level."""
    narrow = any(row.level is not None for row in rows)
    return Column("width", lambda row: f"{100 * row.width:.0f}%", key="width", shown=narrow, priority=2)
