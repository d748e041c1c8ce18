"""What a value in a config may be."""

from collections.abc import Iterator, Sequence
from typing import Any

from latadj.config import (
    TASK_TYPES,
    BenchConfig,
    CalibrateConfig,
    CommandConfig,
    EvalConfig,
    ExplainConfig,
    FinetuneConfig,
    GenerateConfig,
    GlueConfig,
    PredictConfig,
    PruneConfig,
    RunConfig,
    SweepConfig,
)
from latadj.config.pruning_options import prune_problems
from latadj.config.speedups import one_speedup, parse_speedups
from latadj.config.training_options import distillation_problems, stage_problems
from latadj.elimination.profiles import PROFILE_TYPES
from latadj.elimination.scores import SCORES
from latadj.tasks.glue import GLUE
from latadj.tasks.prompts import template

PRECISIONS = ("fp32", "bf16", "int8")


def check(config: RunConfig) -> None:
    """Refuse values that no command could work with, all at once.

    Raises
    ------
    ValueError
        naming every bad value and what is possible instead.
    """
    problems = []
    choices: dict[str, tuple[Any, Sequence[str]]] = {
        "device.precision": (config.device.precision, (*PRECISIONS, "auto")),
        "device.train_precision": (config.device.train_precision, ("auto", "fp32", "bf16")),
        "model.weights": (config.model.weights, ("pretrained", "random")),
    }
    if isinstance(config, CommandConfig):
        choices["task.type"] = (config.task.type, TASK_TYPES)
        choices["task.documents"] = (config.task.documents, ("auto", "row", "block", "heading"))
        choices["task.continuation"] = (config.task.continuation, ("window", "last_word", "recall"))
        if config.task.type == "generation" and len(config.task.text) != 1:
            problems.append(f"task.text={config.task.text}: expected one column, since this task generates")
        if config.task.type == "token_classification" and len(config.task.text) != 1:
            problems.append(f"task.text={config.task.text}: expected one column, the list of a sentence's words")
        if config.task.type == "classification":
            problems += _column_problems(config)
    if isinstance(config, (FinetuneConfig, CalibrateConfig)):
        choices["calibration.score"] = (config.calibration.score, tuple(SCORES))
        choices["calibration.profile"] = (config.calibration.profile, tuple(PROFILE_TYPES))
    if isinstance(config, (SweepConfig, EvalConfig, GenerateConfig, ExplainConfig, PredictConfig)):
        choices["dial.target"] = (config.dial.target, ("latency", "flops"))
        if config.profile is not None:
            choices["profile"] = (config.profile, tuple(PROFILE_TYPES))
    if isinstance(config, PredictConfig):
        choices["on_error"] = (config.on_error, ("skip", "stop"))
        problems += _predict_problems(config)
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            problems.append(f"{key}={value}: expected one of {', '.join(allowed)}")
    problems += [f"{key}={value}: expected at least {least}" for key, value, least in _bounds(config) if value < least]
    if isinstance(config, (SweepConfig, EvalConfig, BenchConfig)):
        parse_speedups(config.speedup)
    if isinstance(config, GenerateConfig):
        one_speedup(config.speedup, "generate")
    if isinstance(config, ExplainConfig):
        one_speedup(config.speedup, "explain")
    if isinstance(config, CommandConfig) and config.prompt is not None and not isinstance(config, GenerateConfig):
        problems += template.problems(config.prompt, config.task)
    if isinstance(config, FinetuneConfig):
        problems += _finetune_problems(config)
    if isinstance(config, PruneConfig):
        problems += prune_problems(config)
    if isinstance(config, BenchConfig):
        problems += _bench_problems(config)
    if isinstance(config, GlueConfig):
        problems += _glue_problems(config)
    if problems:
        raise ValueError("; ".join(problems))


def _column_problems(config: CommandConfig) -> list[str]:
    """What is wrong with the columns that a classification reads."""
    text, label = config.task.text, config.task.label
    problems = []
    if not text or len(set(text)) < len(text) or (len(text) > 2 and config.prompt is None):
        problems.append(f"task.text={text}: expected one column or two, such as task.text=[premise,hypothesis]")
    if label in text:
        problems.append(f"task.label={label}: it is a text column (task.text) too; name the column of the labels")
    elif "label" in text:
        problems.append("task.text=label: a text column must not be called label; rename it")
    return problems


def _bounds(config: RunConfig) -> Iterator[tuple[str, float, float]]:
    """Keys that have a least value: key, value, least."""
    if isinstance(config, CommandConfig):
        yield "task.max_length", config.task.max_length, 2
        yield "task.batch_size", config.task.batch_size, 1
        yield "task.prompt_length", config.task.prompt_length, 2
        yield "task.continuation_length", config.task.continuation_length, 1
        yield "task.block_words", config.task.block_words, 1
        yield "task.doc_stride", config.task.doc_stride, 0
        for key in ("max_query_length", "max_answer_length", "n_best"):
            yield f"task.{key}", getattr(config.task, key), 1
        for key in ("windows", "stride"):
            value = getattr(config.task, key)
            if value is not None:
                yield f"task.{key}", value, 1
    if isinstance(config, (FinetuneConfig, CalibrateConfig)):
        yield "calibration.max_speedup", config.calibration.max_speedup, 1
        yield "calibration.max_flops", config.calibration.max_flops, 1
        yield "calibration.every", config.calibration.every, 1
        if config.calibration.examples is not None:
            yield "calibration.examples", config.calibration.examples, 1
        yield "calibration.sink_tokens", config.calibration.sink_tokens, 0
        if config.calibration.window_size is not None:
            yield "calibration.window_size", config.calibration.window_size, 0
    if isinstance(config, (CalibrateConfig, SweepConfig, EvalConfig)):
        for key in ("batch", "length"):
            value = getattr(config.workload, key)
            if value is not None:
                yield f"workload.{key}", value, 1
    if isinstance(config, CalibrateConfig) and config.clock.rounds != 0:
        yield "clock.rounds", config.clock.rounds, 2
    if isinstance(config, (SweepConfig, BenchConfig)):
        yield "measure.repeats", config.measure.repeats, 1
    if isinstance(config, SweepConfig):
        yield "measure.prompts", config.measure.prompts, 0
    if isinstance(config, EvalConfig):
        yield "measure.examples", config.measure.examples, 1
        yield "measure.prompts", config.measure.prompts, 1
    if isinstance(config, GenerateConfig):
        yield "max_new_tokens", config.max_new_tokens, 1
        yield "temperature", config.temperature, 0
    if isinstance(config, ExplainConfig):
        yield "step", config.step, 0.01
    if isinstance(config, PredictConfig):
        yield "window", config.window, 1
        for key, least in {"batch_size": 1, "max_length": 2}.items():
            value = getattr(config, key)
            if value is not None:
                yield key, value, least
    if isinstance(config, BenchConfig):
        yield "every", config.every, 1
        yield "clock.rounds", config.clock.rounds, 2


def _predict_problems(config: PredictConfig) -> list[str]:
    problems = []
    if config.speedup is not None:
        one_speedup(config.speedup, "predict")
    if config.deadline_ms is not None:
        if config.deadline_ms <= 0:
            problems.append(f"deadline_ms={config.deadline_ms}: expected a number above 0")
        if config.speedup is not None:
            problems.append(f"speedup={config.speedup} with deadline_ms: a deadline picks speedups; give one of them")
        if config.dial.target == "flops":
            problems.append("dial.target=flops with deadline_ms: a deadline goes by latency")
    columns = config.text if isinstance(config.text, (list, tuple)) else [config.text]
    if not (config.text is None or (1 <= len(columns) <= 2 and all(isinstance(name, str) for name in columns))):
        problems.append(f"text={config.text}: expected a column, or two as in text=[premise,hypothesis]")
    return problems


def _bench_problems(config: BenchConfig) -> list[str]:
    problems = []
    for key in ("batch", "length"):
        values = getattr(config, key)
        if not values or min(values) < 1:
            problems.append(f"{key}={values}: expected a list of numbers, each at least 1")
    if config.memory is not None and (len(config.memory) != 2 or min(config.memory) < 1):
        problems.append(f"memory={config.memory}: expected [batch, length], each at least 1, or null")
    unknown = [precision for precision in config.precisions if precision not in PRECISIONS]
    if unknown or not config.precisions:
        problems.append(f"precisions={config.precisions}: expected some of {', '.join(PRECISIONS)}")
    return problems


def _glue_problems(config: GlueConfig) -> list[str]:
    problems = []
    unknown = [task for task in config.tasks if task not in GLUE]
    if unknown or not config.tasks or len(set(config.tasks)) < len(config.tasks):
        shown = ",".join(config.tasks)
        problems.append(f"tasks=[{shown}]: expected a list of some of {', '.join(GLUE)}, each once")
    for key in ("max_train", "max_test"):
        value = getattr(config, key)
        if value is not None and value < 1:
            problems.append(f"{key}={value}: expected at least 1")
    parse_speedups(config.speedup)
    submission_speedups(config)
    return problems


def submission_speedups(config: GlueConfig) -> list[float]:
    """The speedups at which `latadj glue` makes predictions for GLUE's server; none where nobody asked for them.

    Raises
    ------
    ValueError
        if what was asked for is neither a truth value nor speedups.
    """
    if isinstance(config.submission, bool) or config.submission is None:
        return parse_speedups(config.speedup) if config.submission else []
    try:
        return parse_speedups(config.submission)
    except ValueError as error:
        raise ValueError(
            f"submission={config.submission}: expected true, false, a speedup or a list of them"
        ) from error


def _finetune_problems(config: FinetuneConfig) -> list[str]:
    # No plain epochs keep the head that a model comes with; what has none is refused when it is loaded.
    problems = stage_problems("plain", config.plain, ("batch_size", "learning_rate"))
    problems += stage_problems("adjust", config.adjust, ("epochs", "batch_size", "learning_rate"))
    problems += distillation_problems("adjust", config.adjust, config.task.type)
    if config.plain.epochs == 0 and not config.adjustable:
        problems.append("plain.epochs=0 with adjustable=false: nothing would be trained; `latadj calibrate` needs none")
    if config.adjust.full_share is not None and not 0 <= config.adjust.full_share <= 1:
        problems.append(f"adjust.full_share={config.adjust.full_share}: expected a share from 0 to 1, or null")
    possible = [name for name in PROFILE_TYPES if name != "searched"]
    if not config.adjust.profiles or not set(config.adjust.profiles) <= set(possible):
        problems.append(f"adjust.profiles={config.adjust.profiles}: expected some of {', '.join(possible)}")
    if not 1.1 <= config.adjust.max_speedup <= config.calibration.max_speedup:
        problems.append(
            f"adjust.max_speedup={config.adjust.max_speedup}: expected 1.1 to "
            f"calibration.max_speedup={config.calibration.max_speedup}"
        )
    return problems
