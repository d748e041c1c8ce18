"""What each command gets: one dataclass a command."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from latadj.config.sections import (
    AdjustConfig,
    BenchMeasureConfig,
    CalibrationConfig,
    ClockConfig,
    CompareConfig,
    DeviceConfig,
    DialConfig,
    EvalMeasureConfig,
    ModelConfig,
    PruneOptions,
    RecoverConfig,
    SearchConfig,
    StageConfig,
    SweepMeasureConfig,
    TopKAttentionOptions,
    WorkloadConfig,
)
from latadj.config.task import GENERATION, PromptConfig, TaskConfig


@dataclass
class RunConfig:
    """What every command has."""

    model: ModelConfig = field(default_factory=ModelConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    folder: str = MISSING
    seed: int = 0
    experiment: Any = None


@dataclass
class CommandConfig(RunConfig):
    """What every command about a task has."""

    task: TaskConfig = field(default_factory=TaskConfig)
    prompt: PromptConfig | None = None
    checkpoint: str = MISSING

    @property
    def head(self) -> str:
        """The head that the model is loaded with; a prompt is answered by the language-modelling head."""
        return self.task.type if self.prompt is None else GENERATION

    @property
    def generates(self) -> bool:
        """Whether the model has its language-modelling head: for running text, or for prompts."""
        return self.head == GENERATION


@dataclass
class FinetuneConfig(CommandConfig):
    """`latadj finetune`."""

    adjustable: bool = True
    resume: bool = False
    plain: StageConfig = field(default_factory=StageConfig)
    adjust: AdjustConfig = field(default_factory=AdjustConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)


@dataclass
class CalibrateConfig(CommandConfig):
    """`latadj calibrate`."""

    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    workload: WorkloadConfig = field(default_factory=WorkloadConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)


@dataclass
class SweepConfig(CommandConfig):
    """`latadj sweep`."""

    speedup: Any = "1..5"
    profile: str | None = None
    compare: CompareConfig = field(default_factory=CompareConfig)
    dial: DialConfig = field(default_factory=DialConfig)
    workload: WorkloadConfig = field(default_factory=WorkloadConfig)
    measure: SweepMeasureConfig = field(default_factory=SweepMeasureConfig)


@dataclass
class EvalConfig(CommandConfig):
    """`latadj eval`."""

    speedup: Any = 1
    profile: str | None = None
    dial: DialConfig = field(default_factory=DialConfig)
    workload: WorkloadConfig = field(default_factory=WorkloadConfig)
    measure: EvalMeasureConfig = field(default_factory=EvalMeasureConfig)


@dataclass
class GenerateConfig(CommandConfig):
    """`latadj generate`; of its task only the name counts, which says where the dial is.

    checkpoint : folder with a dial; where it is not there, speedup 1 runs the model as it is
    max_new_tokens : at most, as far as the model's context goes
    temperature : 0 takes the likeliest token each time; above 0 tokens are drawn
    chat : put the prompt into the tokenizer's chat template; None: where it has one
    """

    speedup: Any = 1
    profile: str | None = None
    dial: DialConfig = field(default_factory=DialConfig)
    max_new_tokens: int = 128
    temperature: float = 0.0
    chat: bool | None = None


@dataclass
class ExplainConfig(CommandConfig):
    """`latadj explain`; of its task only the name counts, which says where the checkpoint is.

    step : speedups that the page's slider goes up by
    """

    speedup: Any = 2
    profile: str | None = None
    dial: DialConfig = field(default_factory=DialConfig)
    step: float = 0.25


@dataclass
class PredictConfig(CommandConfig):
    """`latadj predict`; its model and task say where the checkpoint is, which says what it is for.

    input, output : a file, or ``-``; formats go by suffixes
    text : a column or a list of them; None: as the model was fine-tuned, or the only one there is
    id : a column that is copied to the output
    on_error : ``skip`` broken rows, or ``stop`` at the first
    speedup : None: 1, or what ``deadline_ms`` asks for
    deadline_ms : of each batch
    window : rows that are sorted by length together
    batch_size, max_length : None: as the model was fine-tuned
    """

    input: str | None = None
    format: str | None = None
    text: Any = None
    id: str | None = None
    on_error: str = "skip"
    output: str = MISSING
    all_probabilities: bool = False
    overwrite: bool = False
    resume: bool = False
    speedup: Any = None
    deadline_ms: float | None = None
    profile: str | None = None
    dial: DialConfig = field(default_factory=DialConfig)
    window: int = 8192
    batch_size: int | None = None
    max_length: int | None = None


@dataclass
class BenchConfig(RunConfig):
    """`latadj bench`.

    contestants : names in ``latadj.benchmark.backends.runtimes.PEERS``
    precisions : of the dial
    every, max_flops : of the dial, as in calibration; random weights have no quality to lose
    memory : batch and length of the cell whose peak memory is measured, in processes of their own; None for none
    """

    batch: list[int] = field(default_factory=lambda: [1, 8, 32])
    length: list[int] = field(default_factory=lambda: [32, 128, 512])
    speedup: Any = field(default_factory=lambda: [1, 1.5, 2, 3, 4])
    precisions: list[str] = field(default_factory=lambda: ["fp32", "int8"])
    contestants: list[str] = field(default_factory=list)
    every: int = 3
    max_flops: float = 20.0
    memory: list[int] | None = None
    clock: ClockConfig = field(default_factory=ClockConfig)
    measure: BenchMeasureConfig = field(default_factory=BenchMeasureConfig)


@dataclass
class GlueConfig(RunConfig):
    """`latadj glue`.

    tasks : names of ``conf/task`` that are GLUE's
    data_dir : folder of GLUE's official folders; None: the hub
    resume : leave out what an earlier run with the same settings has finished
    submission : True: test-set predictions at every speedup; or the speedups that they are wanted at
    task : options of every task
    adjustable, profile, plain, adjust, calibration, search, clock, workload, dial, measure : options of the commands
        that it runs; what is not there is as they say themselves
    """

    tasks: list[str] = field(default_factory=list)
    data_dir: str | None = None
    max_train: int | None = None
    max_test: int | None = None
    resume: bool = True
    submission: Any = False
    speedup: Any = field(default_factory=lambda: [1, 1.5, 2, 3])
    profile: str | None = None
    adjustable: bool = True
    task: dict[str, Any] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)
    adjust: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    clock: dict[str, Any] = field(default_factory=dict)
    workload: dict[str, Any] = field(default_factory=dict)
    dial: dict[str, Any] = field(default_factory=dict)
    measure: dict[str, Any] = field(default_factory=dict)


@dataclass
class ReportConfig(CommandConfig):
    """`latadj report`; model and task only say which folder, where ``folder`` does not."""


@dataclass
class PruneConfig(CommandConfig):
    """`latadj prune`.

    checkpoint : the fine-tuned model that parts are taken out of
    output : folder of the pruned model; with budgets ``-BUDGET`` follows its name
    """

    output: str = MISSING
    resume: bool = False
    prune: PruneOptions = field(default_factory=PruneOptions)
    topk_attention: TopKAttentionOptions = field(default_factory=TopKAttentionOptions)
    recover: RecoverConfig = field(default_factory=RecoverConfig)


SCHEMAS: dict[str, type[RunConfig]] = {
    "finetune": FinetuneConfig,
    "calibrate": CalibrateConfig,
    "sweep": SweepConfig,
    "eval": EvalConfig,
    "generate": GenerateConfig,
    "explain": ExplainConfig,
    "predict": PredictConfig,
    "bench": BenchConfig,
    "glue": GlueConfig,
    "report": ReportConfig,
    "prune": PruneConfig,
}
