"""What is timed, and which models are compared."""

from dataclasses import dataclass

from omegaconf import MISSING

from latadj.config.fields import Rule, Section, at_least, option, shown
from latadj.config.options.model import PRECISIONS
from latadj.config.speedups import parse_speedups, shown_speedups


@dataclass
class SweepMeasureConfig(Section):
    """The clock of a sweep."""

    batches: int = option(12, "batches that are timed; 0: no clock")
    prompts: int = option(4, "prompts that are timed, one at a time, for a generation task", at_least(0))
    repeats: int = option(7, "time-interleaved rounds over them", at_least(1))
    warmup: int = option(5, "most rounds before those that count; fewer once times are steady")


@dataclass
class EvalMeasureConfig(Section):
    """The clock of `latadj eval`."""

    examples: int = option(200, "test examples that are timed one by one", at_least(1))
    prompts: int = option(8, "prompts that are timed, for a generation task", at_least(1))
    warmup: int = option(2, "most rounds before those that count; fewer once times are steady")


@dataclass
class BenchMeasureConfig(Section):
    """The clock of each cell of the bench."""

    repeats: int = option(30, "most time-interleaved rounds", at_least(1))
    warmup: int = option(4, "most rounds before those that count")
    budget_s: float = option(60, "seconds for each cell; three rounds are run in any case")


@dataclass
class ComparedConfig(Section):
    """One of several models that a sweep compares."""

    checkpoint: str = option(MISSING, "its folder")
    speedup: list[float] = option(
        [1.0],
        "speedups of its dial; the largest that holds its quality on validation text is taken; 1 needs no dial",
        parse=parse_speedups,
        type="speedups",
    )
    make: list[str] = option([], "commands that make it, for the message that it is missing")


@dataclass
class CompareConfig(Section):
    """Models of one task side by side, each in each precision that the device offers."""

    models: dict[str, ComparedConfig] = option({}, "models by name, the full one first, at speedup 1")
    precisions: list[str] = option(["fp32", "bf16", "int8"], "number formats; unsupported ones are left out")
    max_drop: float = option(
        0.75,
        "points of the metric that a dial may lose on validation text",
        Rule("at least 0 points", lambda value: value >= 0),
    )
    memory: bool = option(False, "measure peak memory too, in one process a model")

    def problems(self) -> list[str]:
        problems, precisions = super().problems(), self.precisions
        if not precisions or not set(precisions) <= set(PRECISIONS) or len(set(precisions)) < len(precisions):
            problems.append(f"precisions={shown(precisions)}: expected some of {', '.join(PRECISIONS)}, each once")
        if len(self.models) == 1:
            problems.append(f"models={','.join(self.models)}: expected at least two")
        for name, model in list(self.models.items())[:1]:
            if model.speedup != [1.0]:
                problems.append(
                    f"models.{name}.speedup={shown_speedups(model.speedup)}: the first model is the full one that the "
                    "others are compared with, so expected 1"
                )
        return problems
