"""What a value in a config may be, and the speedups that a text stands for."""

import re
from decimal import Decimal
from typing import Any

from latadj.config import CommandConfig, EvalConfig, FinetuneConfig, SweepConfig


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
        "device.precision": (config.device.precision, ("fp32", "bf16", "int8", "auto")),
        "device.train_precision": (config.device.train_precision, ("auto", "fp32", "bf16")),
    }
    calibration = getattr(config, "calibration", None)
    if calibration is not None:
        choices["calibration.score"] = (calibration.score, ("acc", "attention", "random", "position"))
        choices["calibration.family"] = (calibration.family, ("geometric", "acc", "searched"))
    if getattr(config, "family", None) is not None:
        choices["family"] = (config.family, ("geometric", "acc", "searched"))  # type: ignore[attr-defined]
    if getattr(config, "dial", None) is not None:
        choices["dial.target"] = (config.dial.target, ("latency", "flops"))  # type: ignore[attr-defined]
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
