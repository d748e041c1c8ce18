"""What several commands share: model, device, stages of training, calibration, clocks."""

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

    ema_decay : what earlier weights count for after each step in a running mean, which is validated and kept; 0: none
    accumulate : batches of one step
    max_steps : most steps, whatever ``epochs`` says
    eval_steps : steps from one validation to the next; None: an epoch
    eval_examples : most validation examples of running text, each scored at every speedup; None: all
    prompt_length, continuation_length, windows, stride : how running text is cut for training; None: as the task says
    attention_dropout : of the attention probabilities; above 0 a CPU has no fused kernel, and a step over 512 tokens
        takes three times as long; None: as the model says
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
    attention_dropout: float | None = 0.0
    warmup: float = 0.1
    weight_decay: float = 0.01
    ema_decay: float = 0.0
    patience: int = 2

    def cuts(self) -> dict[str, Any]:
        """How running text is cut for training, where it is not as the task says."""
        names = ("prompt_length", "continuation_length", "windows", "stride")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass
class DistillationConfig(StageConfig):
    """A stage with a teacher: ``task_loss_weight`` weighs the labels, ``distillation_loss_weight`` its answers.

    teacher : folder of a fine-tuned model, which teaches without elimination; None: the model as the stage finds it
    word_dropout_copies : copies of each training text that lack some of its words, see ``latadj.training.word_dropout``
    """

    teacher: str | None = None
    task_loss_weight: float = 1.0
    distillation_loss_weight: float = 1.0
    word_dropout_copies: int = 0


@dataclass
class AdjustConfig(DistillationConfig):
    """Adjustable fine-tuning along ``profiles`` of profiles, at speedups drawn up to ``max_speedup``.

    A ``speedup_sampling_power`` above 1 draws small speedups more often. ``dropout`` is that of the hidden state.

    full_share : share of the batches that go through the full model, the others through a cut one; None: each batch
        goes through both
    """

    full_share: float | None = None
    max_speedup: float = 5.0
    speedup_sampling_power: float = 1.5
    dropout: float = 0.0
    profiles: list[str] = field(default_factory=lambda: ["geometric", "acc"])


@dataclass
class CalibrationConfig:
    """How ACC is measured and which dial comes of it; ``device_only`` leaves the dial as it is.

    examples : None: 512 texts, fewer where they are long, or 24 prompts of a language model
    window_size, sink_tokens, recent_ratio, kernel_size : see ``latadj.elimination.observation_window``; None: chosen by
        trial
    """

    examples: int | None = None
    score: str = "acc"
    window_size: int | None = None
    sink_tokens: int = 4
    recent_ratio: float | None = None
    kernel_size: int = 13
    profile: str = "acc"
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
class SweepMeasureConfig:
    """What the sweep's clock runs: ``repeats`` rounds over ``batches`` batches, after ``warmup`` rounds at most.

    prompts : of a generation task, in place of batches
    """

    batches: int = 12
    prompts: int = 4
    repeats: int = 7
    warmup: int = 5


@dataclass
class ComparedConfig:
    """One of several models that a sweep compares.

    checkpoint : its folder
    speedup : of its dial; out of several, the largest that holds its quality on validation text. 1 needs no dial
    make : the commands that make it, for those who have not
    """

    checkpoint: str = MISSING
    speedup: Any = 1
    make: list[str] = field(default_factory=list)


@dataclass
class CompareConfig:
    """Models of one task side by side, each in each precision that the device offers.

    models : by name; the first is the plain one, which drops and speedups count from
    precisions : in place of ``device.precision``
    max_drop : points of the metric that a dial may lose on validation text
    memory : measure each one's peak memory, in a process of its own
    """

    models: dict[str, ComparedConfig] = field(default_factory=dict)
    precisions: list[str] = field(default_factory=lambda: ["fp32", "bf16", "int8"])
    max_drop: float = 0.75
    memory: bool = False


@dataclass
class EvalMeasureConfig:
    """How many test examples are timed one by one, after ``warmup`` rounds over them at most.

    prompts : of a generation task, in place of examples
    """

    examples: int = 200
    prompts: int = 8
    warmup: int = 2


@dataclass
class BenchMeasureConfig:
    """The bench's clock in each cell: ``repeats`` rounds at most, in about ``budget_s`` seconds."""

    repeats: int = 30
    warmup: int = 4
    budget_s: float = 60


@dataclass
class PruneOptions:
    """What may go out of a model, and by which judgement.

    objective : ``accuracy``: all that does not hurt; ``size`` or ``speed``: down to ``budget``
    budget : of size: share of the parameters outside the embeddings that may stay; of speed: measured speedup; a list
        makes a model of each in one run
    tolerance : how far the metric may fall below the full model's, as a fraction of 1
    confidence : of the intervals by which the result is confirmed
    max_loss_increase : share by which the loss may rise where the metric holds
    layers : numbers, from 1, of those that may lose parts; None: all
    groups : of feed-forward neurons in each layer
    holdout_fraction : share of the validation split that the search never sees, to confirm its result on
    examples : validation texts that candidates are ordered by; None: 256, fewer long ones
    gradient_examples : training texts that gradients are taken of; None: 512, fewer long ones
    step : of size and speed: share of the cost that goes at a time
    step_epochs : of fine-tuning after each step
    rounds : of accuracy: most searches, each of what is left after the recovery from the one before
    recover_epochs : of fine-tuning at the end, and at each budget; what ``recover.epochs`` is where nobody gives it
    """

    objective: str = "accuracy"
    budget: Any = None
    tolerance: float = 0.0
    confidence: float = 0.9
    max_loss_increase: float = 0.1
    layers: list[int] | None = None
    groups: int = 8
    holdout_fraction: float = 0.4
    examples: int | None = None
    gradient_examples: int | None = None
    step: float = 0.08
    step_epochs: float = 0.25
    rounds: int = 1
    recover_epochs: float = 2.0


@dataclass
class TopKAttentionOptions:
    """Which selective hard attention is tried.

    k : keys that a query attends to, or their share, tried in each layer; a number or a list; None: none
    """

    k: Any = None


@dataclass
class RecoverConfig(DistillationConfig):
    """Fine-tuning of a pruned model, with the full one as its teacher."""
