"""How a dial is made, and how it is turned."""

from dataclasses import dataclass

from latadj.config.fields import SHARE, Rule, Section, at_least, one_of, option
from latadj.elimination.profiles import PROFILE_TYPES
from latadj.elimination.scores import SCORES

ODD = Rule("an odd number, at least 1", lambda value: value >= 1 and value % 2 == 1)


@dataclass
class CalibrationConfig(Section):
    """How tokens are scored, and which dial comes of it."""

    examples: int | None = option(
        None, "training examples to measure on; null: 512 texts (fewer if long), or 24 prompts", at_least(1)
    )
    validation_examples: int | None = option(
        None, "validation examples to measure drops along the dial on; null: 2,000 at most; 0: none", at_least(0)
    )
    score: str = option("acc", "score by which tokens are kept", one_of(*SCORES))
    window_size: int | None = option(
        None, "decoders: the last tokens whose attention scores the others; 0: all; null: chosen by trial", at_least(0)
    )
    sink_tokens: int = option(4, "decoders: first tokens that are always kept", at_least(0))
    recent_ratio: float | None = option(
        None, "decoders: share of the kept tokens that are the most recent; null: chosen by trial", SHARE
    )
    kernel_size: int = option(13, "decoders: neighbours over which scores are averaged; 1: no pooling", ODD)
    profile: str = option("acc", "profile type of the dial", one_of(*PROFILE_TYPES))
    max_speedup: float = option(5.0, "largest speedup of the dial", at_least(1))
    max_flops: float | None = option(
        None,
        "quality floor: no profile goes beyond this FLOPs speedup; null: 8, or 16 where width was trained",
        at_least(1),
    )
    short_length: float | None = option(
        None,
        "tokens up to which a text is not cut, or made narrower; null: 8, fewer where all are short; searched too",
        at_least(0),
    )
    every: int = option(1, "eliminate in every n-th layer only, more at a time", at_least(1))
    device_only: bool = option(False, "keep the dial and only measure this device")


@dataclass
class SearchConfig(Section):
    """The search for profiles."""

    speedups: list[float] = option(
        [1.5, 2.0, 3.0, 5.0], "speedups to search at; between them profiles are interpolated"
    )
    trials: int | None = option(None, "profiles tried at each speedup; null: 48, or 6 on prompts; 0: no search")
    levels: int | None = option(
        None, "most widths that a dial has, each of which takes memory where weights are packed; null: one a speedup"
    )


@dataclass
class DialConfig(Section):
    """What a speedup means."""

    target: str = option(
        "latency", "latency: measured time, where calibrate measured this device", one_of("latency", "flops")
    )


WORKLOAD = "the batches that the latency dial is solved for"


@dataclass
class WorkloadConfig(Section):
    """The batches that the latency dial is solved for."""

    batch: int | None = option(
        None, "sequences a batch; null: task.batch_size in calibrate, what was calibrated elsewhere", at_least(1)
    )
    length: int | None = option(
        None, "tokens a sequence; null: lengths of the calibration texts, or what was calibrated", at_least(1)
    )


@dataclass
class ClockConfig(Section):
    """How long the latency model is measured."""

    rounds: int = option(
        7,
        "most times that each pass is run; 0: this device is not measured",
        Rule("at least 2", lambda value: value == 0 or value >= 2),
    )
    budget_s: float = option(60, "seconds for all passes together")


@dataclass
class BenchClockConfig(ClockConfig):
    """The same for each cell of the bench, whose dial cannot do without it."""

    rounds: int = option(7, "most times that each pass is run", at_least(2))
