"""The commands that measure a model: sweep, eval, bench; and report, which shows what they found."""

from dataclasses import dataclass

from latadj.config.commands.base import (
    CommandConfig,
    DialedConfig,
    RunConfig,
    escape_option,
    speedup_option,
    speedups_option,
)
from latadj.config.fields import at_least, option, section, shown
from latadj.config.options.dial import WORKLOAD, BenchClockConfig, WorkloadConfig
from latadj.config.options.measurement import (
    BenchMeasureConfig,
    CompareConfig,
    EvalMeasureConfig,
    SweepMeasureConfig,
)
from latadj.config.options.model import PRECISIONS, DeviceConfig
from latadj.config.options.task import MTEB
from latadj.config.options.training import report_option
from latadj.config.speedups import shown_speedups


@dataclass
class SweepConfig(DialedConfig):
    """`latadj sweep`."""

    speedup: list[float] = speedups_option([1.0, 2.0, 3.0, 4.0, 5.0])
    escape_formulas: bool = escape_option()
    report_to: list[str] = report_option("where the rows go besides the files: into the run that training reported to")
    compare: CompareConfig = section(CompareConfig, "several models in one table, as in experiment=axformer")
    workload: WorkloadConfig = section(WorkloadConfig, WORKLOAD)
    measure: SweepMeasureConfig = section(SweepMeasureConfig, "what is timed")

    def problems(self) -> list[str]:
        problems = super().problems()
        if not self.compare.models:
            return problems
        if self.speedup != SweepConfig().speedup:
            problems.append(
                f"speedup={shown_speedups(self.speedup)}: several models are compared, each at speedups of its own: "
                "compare.models.NAME.speedup="
            )
        if self.device.precision != DeviceConfig().precision:
            problems.append(
                f"device.precision={self.device.precision}: several models are compared, each in all of "
                f"compare.precisions={shown(self.compare.precisions)}"
            )
        if self.report_to:
            problems.append(
                f"report_to={shown(self.report_to)}: one dial's rows are reported, not several models'; take none"
            )
        if self.task.type == MTEB:
            problems.append("compare.models with task=mteb: sweep the models one by one")
        if self.generates:
            problems.append("compare.models: classifiers, taggers and readers are compared, without a prompt")
        return problems


@dataclass
class EvalConfig(DialedConfig):
    """`latadj eval`."""

    speedup: float = speedup_option(1.0, "eval")
    escape_formulas: bool = escape_option()
    workload: WorkloadConfig = section(WorkloadConfig, WORKLOAD)
    measure: EvalMeasureConfig = section(EvalMeasureConfig, "what is timed")


@dataclass
class BenchConfig(RunConfig):
    """`latadj bench`."""

    batch: list[int] = option([1, 8, 32], "batch sizes")
    length: list[int] = option([32, 128, 512], "tokens a sequence")
    speedup: list[float] = speedups_option([1.0, 1.5, 2.0, 3.0, 4.0])
    precisions: list[str] = option(["fp32", "int8"], "number formats of the dial")
    backends: list[str] = option([], "runtimes to compare with; those that are not installed are left out")
    every: int = option(3, "eliminate in every n-th layer only, more at a time", at_least(1))
    max_flops: float = option(20.0, "no profile goes beyond this FLOPs speedup; random weights lose no quality")
    memory: list[int] | None = option(None, "[batch,length] at which peak memory is measured; null: not at all")
    clock: BenchClockConfig = section(BenchClockConfig, "how long the latency model of each cell is measured")
    measure: BenchMeasureConfig = section(BenchMeasureConfig, "what is timed")

    def problems(self) -> list[str]:
        problems = super().problems()
        for key in ("batch", "length"):
            values = getattr(self, key)
            if not values or min(values) < 1:
                problems.append(f"{key}={values}: expected a list of numbers, each at least 1")
        if self.memory is not None and (len(self.memory) != 2 or min(self.memory) < 1):
            problems.append(f"memory={self.memory}: expected [batch, length], each at least 1, or null")
        if not self.precisions or not set(self.precisions) <= set(PRECISIONS):
            problems.append(f"precisions={self.precisions}: expected some of {', '.join(PRECISIONS)}")
        return problems


@dataclass
class ReportConfig(CommandConfig):
    """`latadj report`; model and task only say which folder, where ``folder`` does not."""
