"""The sweep's result, typed; its JSON form is the one truth that tables and pictures are made from."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from latadj.reporting.results.base import Result

if TYPE_CHECKING:  # a report is made of files, without torch
    from latadj.benchmark.timer import Interval

# What `measured` is counted from, besides the baselines: the dial's own speedup 1, in the same precision.
OWN = "dial_1"
# Names of ``benchmark.baselines``, which needs torch where a table does not.
BASELINES = ("bucketed", "batch_padded", "max_padded")
# Scores that any other has to beat at the same cost.
CONTROLS = ("recent", "random")


@dataclass
class Measured:
    """A wall-clock speedup over one baseline, with its 95% interval."""

    speedup: float
    ci: tuple[float, float]

    @classmethod
    def of(cls, interval: "Interval") -> "Measured":
        return cls(interval.median, (interval.low, interval.high))


@dataclass
class Row:
    """One position of the dial.

    keep : share of tokens that leave each layer, over the test texts (a trimmed last layer keeps one)
    profile : keep ratios that the dial asked for
    drop : metric points lost against the better full model; 0.01 = one point, positive = worse
    controls : metric by each control's score at the same profile, hence the same cost; decoders only
    predicted : what the latency model predicts over the dial's speedup 1; None where the dial is marked in FLOPs
    measured : over each baseline, and over ``OWN``
    thresholds : what validation examples decided at this speedup, such as a threshold of no answer
    agreement : share of examples with the full model's prediction; for a regression, correlation with it
    """

    speedup: float
    keep: list[float]
    profile: list[float]
    profile_type: str
    metric: float
    metric_ci: tuple[float, float]
    scores: dict[str, dict[str, float]]
    drop: float
    drop_ci: tuple[float, float]
    agreement: float
    flops_speedup: float
    controls: dict[str, float] = field(default_factory=dict)
    predicted: float | None = None
    measured: dict[str, Measured] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)


@dataclass
class Sweep(Result):
    """Everything `latadj sweep` found.

    baseline_metric : the checkpoint at speedup 1
    plain_metric : the plain fine-tuned model, None where it is not kept
    plain_scores : all of its scores, as in a row; None where it is not kept
    target : what the dial was marked in, ``latency`` or ``flops``
    unreachable, reach : speedups asked for that this device does not reach, and the largest that it does
    samples_s : raw seconds of every timed batch, variant -> rounds -> batches
    batch_lengths, batch_texts : tokens of the longest text, and number of texts, in every timed batch, by baseline;
        speedups run the bucketed ones
    """

    SCHEMA: ClassVar[str] = "latadj.sweep/1"

    model: str
    task: str
    metric: str
    greater_is_better: bool
    baseline_metric: float
    plain_metric: float | None
    test_examples: int
    rows: list[Row]
    environment: dict[str, Any]
    config: dict[str, Any]
    target: str = "flops"
    unreachable: list[float] = field(default_factory=list)
    reach: float | None = None
    samples_s: dict[str, list[list[float]]] = field(default_factory=dict)
    plain_scores: dict[str, dict[str, float]] | None = None
    batch_lengths: dict[str, list[int]] = field(default_factory=dict)
    batch_texts: dict[str, list[int]] = field(default_factory=dict)
