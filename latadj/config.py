"""The typed configuration of every command: one dataclass each, filled from `conf/` by Hydra."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from omegaconf import MISSING


@dataclass
class ModelConfig:
    """What is fine-tuned: a transformers folder or a name on the hub."""

    name: str = MISSING
    path: str = MISSING
    learning_rate: float = 5e-5
    trust_remote_code: bool = False


@dataclass
class FilesConfig:
    """Where a task's files lie; relative paths start at ``task.data_dir``.

    format : ``csv``, ``tsv`` (unquoted, as GLUE's) or ``orange`` (Orange's three header lines)
    train, test : file names; ``all`` instead is one file to be split
    columns : our column -> the file's (a name, or a number where there is no header)
    """

    format: str = "tsv"
    train: str | None = None
    test: list[str] = field(default_factory=list)
    all: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    header: bool = True
    drop_labels: list[str] = field(default_factory=list)


@dataclass
class HubConfig:
    """A data set on the Hugging Face hub; ``test`` names the splits that are only read by `eval` and `sweep`."""

    path: str = MISSING
    name: str | None = None
    test: list[str] = field(default_factory=lambda: ["validation"])


@dataclass
class TaskConfig:
    """What is asked of a model; without ``labels`` it is a regression."""

    name: str = MISSING
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
    max_train: int | None = None
    max_test: int | None = None


@dataclass
class DeviceConfig:
    """Where commands run; ``threads`` None leaves PyTorch's choice."""

    name: str = "auto"
    threads: int | None = None
    precision: str = "fp32"
    train_precision: str = "auto"


@dataclass
class StageConfig:
    """One stage of fine-tuning; ``warmup`` is a share of the steps, ``patience`` counts epochs."""

    epochs: float = 3
    learning_rate: float = 5e-5
    batch_size: int = 32
    warmup: float = 0.1
    weight_decay: float = 0.01
    patience: int = 2


@dataclass
class AdjustConfig(StageConfig):
    """Adjustable fine-tuning along ``families`` of profiles, at speedups drawn up to ``max_speedup``.

    A ``skew`` above 1 draws small speedups more often. ``dropout`` is that of the hidden state.
    """

    max_speedup: float = 5.0
    skew: float = 1.5
    dropout: float = 0.0
    families: list[str] = field(default_factory=lambda: ["geometric", "acc"])
    task_weight: float = 1.0
    distill_weight: float = 1.0


@dataclass
class CalibrationConfig:
    """How ACC is measured and which dial comes of it."""

    examples: int = 512
    score: str = "acc"
    family: str = "acc"
    max_speedup: float = 5.0


@dataclass
class SearchConfig:
    """Where profiles are searched for, and how many are tried at each speedup."""

    speedups: list[float] = field(default_factory=lambda: [1.5, 2.0, 3.0, 5.0])
    trials: int = 48


@dataclass
class CommandConfig:
    """What every command has."""

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    folder: str = MISSING
    checkpoint: str = MISSING
    seed: int = 0
    experiment: Any = None


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


@dataclass
class SweepMeasureConfig:
    """What the sweep's clock runs: ``repeats`` rounds over ``batches`` batches, after ``warmup`` rounds at most."""

    batches: int = 12
    repeats: int = 7
    warmup: int = 5


@dataclass
class SweepConfig(CommandConfig):
    """`latadj sweep`."""

    speedup: Any = "1..5"
    family: str | None = None
    measure: SweepMeasureConfig = field(default_factory=SweepMeasureConfig)


@dataclass
class EvalMeasureConfig:
    """How many test examples are timed one by one."""

    examples: int = 200
    warmup: int = 10


@dataclass
class EvalConfig(CommandConfig):
    """`latadj eval`."""

    speedup: Any = 1
    family: str | None = None
    measure: EvalMeasureConfig = field(default_factory=EvalMeasureConfig)


SCHEMAS: dict[str, type[CommandConfig]] = {
    "finetune": FinetuneConfig,
    "calibrate": CalibrateConfig,
    "sweep": SweepConfig,
    "eval": EvalConfig,
}


def parse_speedups(value: Any) -> list[float]:
    """Speedups out of ``3``, ``1..5``, ``1..5:0.5`` or ``[1,1.5,2]``.

    Raises
    ------
    ValueError
        if it is none of these, a speedup is below 1, or a range runs backwards.
    """
    try:
        if isinstance(value, str) and ".." in value:
            found = _range(value)
        elif isinstance(value, (list, tuple)):
            found = [float(item) for item in value]
        elif isinstance(value, bool) or value is None:
            raise ValueError
        else:
            found = [float(value)]
    except (ValueError, TypeError, ArithmeticError):
        found = []
    if not found or not all(1.0 <= speedup < float("inf") for speedup in found):
        shown = "[" + ",".join(map(str, value)) + "]" if isinstance(value, (list, tuple)) else value
        raise ValueError(
            f"speedup={shown}: expected a number >= 1, a rising range such as 1..5 or 1..5:0.5, or a list [1,1.5,2]"
        )
    return found


def _range(text: str) -> list[float]:
    match = re.fullmatch(r"\s*([\d.]+?)\.\.([\d.]+)(?::([\d.]+))?\s*", text)
    if not match:
        raise ValueError(text)
    # Decimal steps, so that 1..2:0.1 holds 1.3 and not 1.3000000000000003.
    low, high, step = (Decimal(part or "1") for part in match.groups())
    if step <= 0 or high < low or (high - low) / step > 1000:
        raise ValueError(text)
    return [float(low + step * index) for index in range(int((high - low) / step) + 1)]


def check(config: CommandConfig) -> None:
    """Refuse values that no command could work with, all at once.

    Raises
    ------
    ValueError
        naming every bad value and what is possible instead.
    """
    problems = []
    choices = {
        "device.precision": (config.device.precision, ("fp32", "bf16")),
        "device.train_precision": (config.device.train_precision, ("auto", "fp32", "bf16")),
    }
    calibration = getattr(config, "calibration", None)
    if calibration is not None:
        choices["calibration.score"] = (calibration.score, ("acc", "attention", "random", "position"))
        choices["calibration.family"] = (calibration.family, ("geometric", "acc", "searched"))
    if getattr(config, "family", None) is not None:
        choices["family"] = (config.family, ("geometric", "acc", "searched"))  # type: ignore[attr-defined]
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            problems.append(f"{key}={value}: expected one of {', '.join(allowed)}")
    if calibration is not None and calibration.max_speedup < 1:
        problems.append(f"calibration.max_speedup={calibration.max_speedup}: expected at least 1")
    if calibration is not None and calibration.examples < 1:
        problems.append(f"calibration.examples={calibration.examples}: expected at least 1")
    if config.task.max_length < 2:
        problems.append(f"task.max_length={config.task.max_length}: expected at least 2")
    if config.task.batch_size < 1:
        problems.append(f"task.batch_size={config.task.batch_size}: expected at least 1")
    if hasattr(config, "speedup"):
        parse_speedups(config.speedup)
    if isinstance(config, SweepConfig) and config.measure.repeats < 1:
        problems.append(f"measure.repeats={config.measure.repeats}: expected at least 1")
    if isinstance(config, EvalConfig) and config.measure.examples < 1:
        problems.append(f"measure.examples={config.measure.examples}: expected at least 1")
    if isinstance(config, FinetuneConfig):
        problems += _finetune_problems(config)
    if problems:
        raise ValueError("; ".join(problems))


def _finetune_problems(config: FinetuneConfig) -> list[str]:
    problems = []
    for name, stage in {"plain": config.plain, "adjust": config.adjust}.items():
        for key in ("epochs", "batch_size", "learning_rate"):
            if getattr(stage, key) <= 0:
                problems.append(f"{name}.{key}={getattr(stage, key)}: expected a number above 0")
    unknown = [family for family in config.adjust.families if family not in ("geometric", "acc")]
    if unknown or not config.adjust.families:
        problems.append(f"adjust.families={config.adjust.families}: expected some of geometric, acc")
    if not 1.1 <= config.adjust.max_speedup <= config.calibration.max_speedup:
        problems.append(
            f"adjust.max_speedup={config.adjust.max_speedup}: expected 1.1 to "
            f"calibration.max_speedup={config.calibration.max_speedup}"
        )
    return problems
