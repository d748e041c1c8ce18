"""Several models of one task side by side, typed; its JSON form is what tables and pictures are made from."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from latadj.elimination.topk.setting import TopK
from latadj.reporting.results.base import Result
from latadj.reporting.results.sweep import Measured

# Name in ``samples_s`` of what speedups count from: the first model in fp32, by transformers' own forward.
REFERENCE = "transformers fp32"


@dataclass
class Tried:
    """What validation text said of one speedup; ``drop`` in metric points against the reference, 0.01 = one point."""

    speedup: float
    metric: float
    drop: float


@dataclass
class ModelRow:
    """One model in one precision. What the clock shows is None where it was left out.

    speedup : that it ran at; where several were asked for, the largest that held its quality on validation text
    target : what its dial is marked in, ``latency`` or ``flops``; None where it has none
    profile : keep ratios
    tried : what validation text said of its speedups, from the largest down; the last one was taken
    within : whether that one lost no more than ``max_drop`` there
    metric, scores, drop : on test text; the drop is paired, against the reference, and positive = worse
    parameters : outside the embeddings; ``parameters_total`` are all
    topk_attention : for each layer the keys that a query attends to, or their share; None if all in every layer
    file_bytes : of its weights as they are saved, whatever precision it is served in
    memory_mb : peak of a process that serves it in batches of ``memory_shape``
    flops_speedup : over the reference, without padding
    flops_over_plain : over the first model by latadj's own engine, which trims the last layer where that is lossless
    measured_speedup : over the reference, with its interval ``ci``
    over_plain : over the first model by latadj's own engine in the same precision, so that the precision is left out
    measured_over_flops : ``over_plain`` over ``flops_over_plain``
    removed_over_flops : share of the first model's time that is gone, over the share of its FLOPs that is: how much a
        clock confirms of what was removed, apart from what stays; None where nothing was
    """

    name: str
    precision: str
    kernel: str
    checkpoint: str
    speedup: float
    target: str | None
    profile: list[float]
    tried: list[Tried]
    within: bool
    metric: float
    metric_ci: tuple[float, float]
    scores: dict[str, dict[str, float]]
    drop: float
    drop_ci: tuple[float, float]
    parameters: int
    parameters_total: int
    file_bytes: int
    flops_speedup: float
    flops_over_plain: float
    memory_mb: float | None = None
    measured_speedup: float | None = None
    ci: tuple[float, float] | None = None
    over_plain: Measured | None = None
    measured_over_flops: float | None = None
    removed_over_flops: float | None = None
    topk_attention: list[TopK] | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in ``samples_s``."""
        return f"{self.name} {self.precision}"

    def clocked(self, over_reference: Measured, over_plain: Measured, latency_ms: dict[str, float]) -> None:
        """Fill in what the clock showed: speedups over the reference and over the first model, percentiles."""
        self.measured_speedup, self.ci = over_reference.speedup, over_reference.ci
        self.over_plain, self.latency_ms = over_plain, latency_ms
        self.measured_over_flops = over_plain.speedup / self.flops_over_plain
        if self.flops_over_plain > 1:
            self.removed_over_flops = (1 - 1 / over_plain.speedup) / (1 - 1 / self.flops_over_plain)


@dataclass
class Comparison(Result):
    """Everything that a sweep of several models found.

    reference : the first model in fp32 as transformers runs it: its ``metric`` on test and ``validation`` text
    candidates : what `latadj prune` found of each part; empty where it was not run
    left_out : precisions asked for that this device does not offer
    samples_s : raw seconds of every timed batch, model -> rounds -> batches
    batch_lengths, batch_texts : tokens of the longest text, and number of texts, in every timed batch
    memory_shape : batch and length that peak memory was measured at
    """

    SCHEMA: ClassVar[str] = "latadj.comparison/1"

    model: str
    task: str
    metric: str
    reference: dict[str, float]
    max_drop: float
    test_examples: int
    validation_examples: int
    candidates: list[dict[str, Any]]
    models: list[ModelRow]
    environment: dict[str, Any]
    config: dict[str, Any]
    left_out: list[str] = field(default_factory=list)
    samples_s: dict[str, list[list[float]]] = field(default_factory=dict)
    batch_lengths: list[int] = field(default_factory=list)
    batch_texts: list[int] = field(default_factory=list)
    memory_shape: tuple[int, int] | None = None
