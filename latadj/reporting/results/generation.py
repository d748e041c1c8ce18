"""The result of a generation task, typed; its JSON form is what tables and pictures are made from."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from latadj.reporting.results.base import Result

if TYPE_CHECKING:  # a report is made of files, without torch
    from latadj.benchmark.generation_timer import GenerationTimes

# What is timed, beside the speedups: transformers' own forward, and the dial's own speedup 1.
PLAIN, OWN = "plain", "1x"

Interval = tuple[float, float]


@dataclass
class GenerationRow:
    """One position of the dial. What the clock shows is None where it was left out.

    keep : share of the prompt's tokens that leave each layer, over the test prompts
    profile : keep ratios that the dial asked for
    metric : perplexity of the continuations
    increase : of perplexity over the better full model's; 0.05 = 5% more
    controls : perplexity by each control's score at the same profile, hence the same cost
    over_controls : increase of perplexity over each control's; below 0 = better than it
    predicted : what the latency model predicts over the dial's speedup 1; None where the dial is marked in FLOPs
    ttft_speedup : time to first token over the plain model's, one prompt at a time; ``ttft_ms`` is its median
    ttft_own : the same over the dial's own speedup 1
    decode_speedup : of decoding steps after that prompt, over the plain model's
    cache_bytes : keys and values after the prefill of a prompt, and their share of the plain model's
    """

    speedup: float
    keep: list[float]
    profile: list[float]
    profile_type: str
    metric: float
    metric_ci: Interval
    increase: float
    increase_ci: Interval
    flops_speedup: float
    predicted: float | None = None
    controls: dict[str, float] = field(default_factory=dict)
    controls_ci: dict[str, Interval] = field(default_factory=dict)
    over_controls: dict[str, float] = field(default_factory=dict)
    over_controls_ci: dict[str, Interval] = field(default_factory=dict)
    ttft_speedup: float | None = None
    ttft_ci: Interval | None = None
    ttft_own: float | None = None
    ttft_own_ci: Interval | None = None
    ttft_ms: float | None = None
    decode_tokens_per_s: float | None = None
    decode_speedup: float | None = None
    decode_ci: Interval | None = None
    cache_bytes: float | None = None
    cache_bytes_ratio: float | None = None

    @property
    def name(self) -> str:
        """Its name in the raw samples, such as ``2x``."""
        return f"{self.speedup:g}x"

    def clock(self, times: "GenerationTimes", seed: int) -> None:
        """Fill in what the clock showed; ``PLAIN`` and ``OWN`` are among what was timed."""
        from latadj.benchmark.timer import speedup

        first, decoding, bytes_of = times.first_token, times.decoding, times.cache_bytes
        over_plain = speedup(first[PLAIN], first[self.name], seed)
        over_own = speedup(first[OWN], first[self.name], seed)
        steps = speedup(decoding[PLAIN], decoding[self.name], seed)
        self.ttft_speedup, self.ttft_ci = over_plain.median, (over_plain.low, over_plain.high)
        self.ttft_own, self.ttft_own_ci = over_own.median, (over_own.low, over_own.high)
        self.ttft_ms = 1000 * float(np.median(first[self.name]))
        self.decode_tokens_per_s = times.tokens_per_s(self.name)
        self.decode_speedup, self.decode_ci = steps.median, (steps.low, steps.high)
        self.cache_bytes = float(np.mean(bytes_of[self.name]))
        self.cache_bytes_ratio = sum(bytes_of[self.name]) / sum(bytes_of[PLAIN])


@dataclass
class GenerationSweep(Result):
    """Everything `latadj sweep` found on a generation task.

    baseline_metric : perplexity of the checkpoint at speedup 1
    plain_metric : of the plain fine-tuned model; where that is not kept, of the checkpoint as transformers runs it
    test_examples, documents : how many prompts were scored, and out of how many documents
    prompt_length, continuation_length : mean tokens of the test examples
    plain_ttft_ms, plain_tokens_per_s, plain_cache_bytes : of the checkpoint as transformers runs it
    target, unreachable, reach : as in ``Sweep``
    samples_s : raw seconds, ``ttft`` or ``decode`` -> variant -> rounds -> prompts
    """

    SCHEMA: ClassVar[str] = "latadj.sweep.generation/1"

    model: str
    task: str
    metric: str
    baseline_metric: float
    plain_metric: float
    test_examples: int
    documents: int
    prompt_length: float
    continuation_length: float
    rows: list[GenerationRow]
    environment: dict[str, Any]
    config: dict[str, Any]
    greater_is_better: bool = False
    target: str = "flops"
    unreachable: list[float] = field(default_factory=list)
    reach: float | None = None
    plain_ttft_ms: float | None = None
    plain_tokens_per_s: float | None = None
    plain_cache_bytes: float | None = None
    samples_s: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        return self.plain_ttft_ms is not None

    @property
    def full_metric(self) -> float:
        """Perplexity that increases count from: the better of the two full models'."""
        return min(self.baseline_metric, self.plain_metric)

    def clock(self, times: "GenerationTimes", seed: int) -> None:
        """Fill in what the clock showed of the plain model and of every row."""
        self.plain_ttft_ms = 1000 * float(np.median(times.first_token[PLAIN]))
        self.plain_tokens_per_s = times.tokens_per_s(PLAIN)
        self.plain_cache_bytes = float(np.mean(times.cache_bytes[PLAIN]))
        self.samples_s = {
            part: {name: seconds.tolist() for name, seconds in samples.items()}
            for part, samples in (("ttft", times.first_token), ("decode", times.decoding))
        }
        for row in self.rows:
            row.clock(times, seed)
