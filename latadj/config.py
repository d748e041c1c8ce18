"""The typed configuration of every command: one dataclass each, filled from `conf/` by Hydra."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class ModelConfig:
    """What is fine-tuned: a transformers folder, a ``.gguf`` file or a name on the hub.

    weights : ``pretrained``, or ``random`` for `latadj bench`, which needs a shape only
    shape : ``model_type`` and options of its config; that of ``path`` where empty
    size : which of several sizes ``path`` and ``shape`` are, where a model has them
    """

    name: str = MISSING
    path: str = MISSING
    learning_rate: float = 5e-5
    trust_remote_code: bool = False
    weights: str = "pretrained"
    shape: dict[str, Any] = field(default_factory=dict)
    size: str | None = None


@dataclass
class FilesConfig:
    """Where a task's files lie; relative paths start at ``task.data_dir``.

    format : ``csv``, ``tsv`` (unquoted, as GLUE's), ``orange`` (Orange's three header lines), ``text`` (a row for
        each line), ``jsonl`` or ``parquet``
    train, validation, test : file names; ``all`` instead is one file to be split. Classification makes its own
        validation split; of running text they may be patterns, and need not all be there.
    columns : our column -> the file's (a name, or a number where there is no header); all where empty
    """

    format: str = "tsv"
    train: str | None = None
    validation: str | None = None
    test: list[str] = field(default_factory=list)
    all: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    header: bool = True
    drop_labels: list[str] = field(default_factory=list)


@dataclass
class HubConfig:
    """A data set on the Hugging Face hub; ``test`` names the splits that are only read by `eval` and `sweep`.

    validation : read by tasks on running text only; classification makes its own
    """

    path: str = MISSING
    name: str | None = None
    revision: str | None = None
    train: str = "train"
    validation: str | None = None
    test: list[str] = field(default_factory=lambda: ["validation"])


@dataclass
class TaskConfig:
    """What is asked of a model; without ``labels`` a classification is a regression.

    kind : ``classification``, or ``generation``: a continuation is scored after a prompt
    prompt_length, continuation_length : tokens of an example cut from running text
    continuation : ``window``: what follows the prompt; ``last_word`` of a document, after all that stands before it
        (or the last ``prompt_length`` tokens of that); ``recall``: the rest of a passage from the prompt's first half,
        whose first ``cue`` tokens the prompt's end quotes
    documents : ``row`` of a table, ``block`` of neighbouring lines that have ``block_words`` words together, or what
        stands under a ``heading`` as WikiText writes it; ``auto``: blocks of a text file, rows of any other
    windows : most examples cut from one document; None: as many as there are
    stride : tokens from the start of one example to that of the next; None: they do not overlap
    group : column; documents of one group stay in one split
    data_files : a file, a list of them, or files for each of train, validation and test, in place of all others
    description : the task in one line, in a prompt
    input : template of how a prompt shows an example's text columns; None: a line each, ``Column: text``
    answer : what a label is called in a prompt
    label_words : the words that stand for ``labels`` in a prompt, in their order; empty: the labels themselves
    """

    name: str = MISSING
    kind: str = "classification"
    text: list[str] = MISSING
    label: str = "label"
    labels: list[str] = field(default_factory=list)
    metric: str = "accuracy"
    max_length: int = 128
    batch_size: int = 32
    split: dict[str, float] = field(default_factory=lambda: {"train": 0.9, "validation": 0.1})
    files: FilesConfig | None = None
    hub: HubConfig | None = None
    data_dir: str | None = None
    data_files: Any = None
    documents: str = "auto"
    block_words: int = 1000
    group: str | None = None
    prompt_length: int = 512
    continuation_length: int = 64
    continuation: str = "window"
    cue: int = 16
    windows: int | None = None
    stride: int | None = None
    max_train: int | None = None
    max_test: int | None = None
    description: str = ""
    input: str | None = None
    answer: str = "Answer"
    label_words: list[str] = field(default_factory=list)


@dataclass
class PromptConfig:
    """What a language model is asked, and how; the fields of a template are those of ``latadj.tasks.template``.

    instruction, shot, query : templates of what stands first, of each example that is shown with its label, and of
        the example that is asked about
    shots : examples of the training split that are shown, the same for all that are asked about
    calibrate : training examples whose mean score is taken off each label word's, against a bias of the prompt; 0: none
    """

    name: str = MISSING
    instruction: str = ""
    shot: str = ""
    query: str = MISSING
    shots: int = 0
    calibrate: int = 0


@dataclass
class DeviceConfig:
    """Where commands run; ``threads`` None leaves PyTorch's choice, ``cpus`` None all that are open."""

    name: str = "auto"
    threads: int | None = None
    cpus: list[int] | None = None
    precision: str = "fp32"
    train_precision: str = "auto"


@dataclass
class StageConfig:
    """One stage of fine-tuning; ``warmup`` is a share of the steps, ``patience`` counts validations.

    accumulate : batches of one step
    max_steps : most steps, whatever ``epochs`` says
    eval_steps : steps from one validation to the next; None: an epoch
    eval_examples : most validation examples of running text, each scored at every speedup; None: all
    prompt_length, continuation_length, windows, stride : how running text is cut for training; None: as the task says
    """

    epochs: float = 3
    max_steps: int | None = None
    learning_rate: float = 5e-5
    batch_size: int = 32
    accumulate: int = 1
    gradient_checkpointing: bool = False
    eval_steps: int | None = None
    eval_examples: int | None = None
    prompt_length: int | None = None
    continuation_length: int | None = None
    windows: int | None = None
    stride: int | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    patience: int = 2

    def cuts(self) -> dict[str, Any]:
        """How running text is cut for training, where it is not as the task says."""
        names = ("prompt_length", "continuation_length", "windows", "stride")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass
class AdjustConfig(StageConfig):
    """Adjustable fine-tuning along ``families`` of profiles, at speedups drawn up to ``max_speedup``.

    A ``skew`` above 1 draws small speedups more often. ``dropout`` is that of the hidden state.

    full_share : share of the batches that go through the full model, the others through a cut one; None: each batch
        goes through both
    """

    full_share: float | None = None
    max_speedup: float = 5.0
    skew: float = 1.5
    dropout: float = 0.0
    families: list[str] = field(default_factory=lambda: ["geometric", "acc"])
    task_weight: float = 1.0
    distill_weight: float = 1.0


@dataclass
class CalibrationConfig:
    """How ACC is measured and which dial comes of it; ``device_only`` leaves the dial as it is.

    examples : None: 512 texts, or 24 prompts of a language model
    queries, sinks, recent, smooth : a decoder's window, see ``latadj.elimination.profile.Window``; None: chosen by
        trial
    """

    examples: int | None = None
    score: str = "acc"
    queries: int | None = None
    sinks: int = 4
    recent: float | None = None
    smooth: int = 13
    family: str = "acc"
    max_speedup: float = 5.0
    max_flops: float = 8.0
    every: int = 1
    device_only: bool = False


@dataclass
class SearchConfig:
    """Where profiles are searched for, and how many are tried at each speedup; None: 48, or 6 on prompts."""

    speedups: list[float] = field(default_factory=lambda: [1.5, 2.0, 3.0, 5.0])
    trials: int | None = None


@dataclass
class DialConfig:
    """What the dial is marked in: ``latency`` where the device was calibrated, or ``flops``."""

    target: str = "latency"


@dataclass
class WorkloadConfig:
    """What the latency dial is solved for: sequences a batch, and their length; None: the task's and the texts'."""

    batch: int | None = None
    length: int | None = None


@dataclass
class ClockConfig:
    """How the device model is measured: ``rounds`` at most, in about ``budget_s`` seconds; 0 rounds leave it out."""

    rounds: int = 7
    budget_s: float = 60


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
class SweepMeasureConfig:
    """What the sweep's clock runs: ``repeats`` rounds over ``batches`` batches, after ``warmup`` rounds at most.

    prompts : of a generation task, in place of batches
    """

    batches: int = 12
    prompts: int = 4
    repeats: int = 7
    warmup: int = 5


@dataclass
class SweepConfig(CommandConfig):
    """`latadj sweep`."""

    speedup: Any = "1..5"
    family: str | None = None
    dial: DialConfig = field(default_factory=DialConfig)
    workload: WorkloadConfig = field(default_factory=WorkloadConfig)
    measure: SweepMeasureConfig = field(default_factory=SweepMeasureConfig)


@dataclass
class EvalMeasureConfig:
    """How many test examples are timed one by one.

    prompts : of a generation task, in place of examples
    """

    examples: int = 200
    prompts: int = 8
    warmup: int = 10


@dataclass
class EvalConfig(CommandConfig):
    """`latadj eval`."""

    speedup: Any = 1
    family: str | None = None
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
    family: str | None = None
    dial: DialConfig = field(default_factory=DialConfig)
    max_new_tokens: int = 128
    temperature: float = 0.0
    chat: bool | None = None


@dataclass
class BenchMeasureConfig:
    """The bench's clock in each cell: ``repeats`` rounds at most, in about ``budget_s`` seconds."""

    repeats: int = 30
    warmup: int = 4
    budget_s: float = 60


@dataclass
class BenchConfig(RunConfig):
    """`latadj bench`.

    contestants : names in ``latadj.measure.peers.PEERS``
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


SCHEMAS: dict[str, type[RunConfig]] = {
    "finetune": FinetuneConfig,
    "calibrate": CalibrateConfig,
    "sweep": SweepConfig,
    "eval": EvalConfig,
    "generate": GenerateConfig,
    "bench": BenchConfig,
}
