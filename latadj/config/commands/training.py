"""The commands that make a model and its dial: finetune, prune, calibrate."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from latadj.config.commands.base import CommandConfig
from latadj.config.fields import one_of, option, section
from latadj.config.options.dial import WORKLOAD, CalibrationConfig, ClockConfig, SearchConfig, WorkloadConfig
from latadj.config.options.pruning import PruneOptions, TopKAttentionOptions
from latadj.config.options.training import AdjustConfig, RecoverConfig, StageConfig, report_option


@dataclass
class FinetuneConfig(CommandConfig):
    """`latadj finetune`."""

    adjustable: bool = option(True, "adjustable fine-tuning after the plain one")
    resume: bool = option(False, "continue after a kill, or after plain fine-tuning only")
    overwrite: bool = option(False, "start anew where an unfinished run of the same settings is")
    report_to: list[str] = report_option()
    plain: StageConfig = section(StageConfig, "plain fine-tuning")
    adjust: AdjustConfig = section(AdjustConfig, "adjustable fine-tuning, at speedups drawn along the dial")
    calibration: CalibrationConfig = section(CalibrationConfig, "the dial that adjustable fine-tuning draws from")

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.resume and self.overwrite:
            problems.append("resume=true with overwrite=true: give one of them")
        problems += [f"adjust.{problem}" for problem in self.adjust.problems_for(self.task.type)]
        # No plain epochs keep the head that a model comes with; what has none is refused when it is loaded.
        if self.plain.epochs == 0 and not self.adjustable:
            problems.append(
                "plain.epochs=0 with adjustable=false: nothing would be trained; `latadj calibrate` needs none"
            )
        if not 1.1 <= self.adjust.max_speedup <= self.calibration.max_speedup:
            problems.append(
                f"adjust.max_speedup={self.adjust.max_speedup}: expected 1.1 to "
                f"calibration.max_speedup={self.calibration.max_speedup}"
            )
        return problems


@dataclass
class CalibrateConfig(CommandConfig):
    """`latadj calibrate`."""

    calibration: CalibrationConfig = section(CalibrationConfig, "how tokens are scored, and which dial comes of it")
    search: SearchConfig = section(SearchConfig, "the search for profiles")
    workload: WorkloadConfig = section(WorkloadConfig, WORKLOAD)
    clock: ClockConfig = section(ClockConfig, "how long this device is measured")
    runtime: str | None = option(
        None,
        "measure exported graphs in this runtime, not PyTorch; auto: which is the fastest of all in the run's folder",
        one_of("onnxruntime", "openvino", "auto"),
    )
    exported: str = option(MISSING, "folder of the graphs that runtime=onnxruntime or openvino measures")

    @property
    def reads_text(self) -> bool:
        """Whether examples are needed: a device is measured on random tokens, but precisions are compared on texts."""
        return not self.calibration.device_only or self.device.precision == "auto" or self.runtime == "auto"


@dataclass
class PruneConfig(CommandConfig):
    """`latadj prune`."""

    output: str = option(MISSING, "folder of the pruned model; with budgets -BUDGET follows its name")
    resume: bool = option(False, "continue after a kill")
    report_to: list[str] = report_option()
    prune: PruneOptions = section(PruneOptions, "what is pruned, and by which criterion")
    topk_attention: TopKAttentionOptions = section(TopKAttentionOptions, "top-k attention, by accuracy; saves no time")
    recover: RecoverConfig = section(RecoverConfig, "fine-tuning of the pruned model by a teacher")

    def outputs(self) -> list[Path]:
        """Folders of all models that a run makes."""
        return [self.output_at(budget) for budget in self.prune.budgets()] or [self.output_at(None)]

    def output_at(self, budget: float | None) -> Path:
        """Folder of the model that a budget leads to; None: where accuracy is the objective."""
        path = Path(self.output)
        return path if budget is None else path.with_name(f"{path.name}-{budget:g}")

    def problems(self) -> list[str]:
        problems = super().problems()
        problems += [f"topk_attention.{problem}" for problem in self.topk_attention.problems_for(self.prune.objective)]
        problems += [f"recover.{problem}" for problem in self.recover.problems_for(self.task.type)]
        if self.prune.objective == "speed" and self.device.precision == "auto":
            problems.append("device.precision=auto: prune.objective=speed goes by one clock; name fp32, bf16 or int8")
        return problems
