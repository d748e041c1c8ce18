"""What `latadj glue` asks of the commands that it runs for each task, as their Hydra overrides.

Imports neither torch nor transformers, so that all of it can be checked before hours of training.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from latadj.config import GlueConfig
from latadj.config.commands.glue import STAGES
from latadj.tasks.glue import GLUE


def stage_overrides(config: GlueConfig, task: str, command: str) -> list[str]:
    """Overrides that make a command do a task's part of `latadj glue`."""
    shared = {"model": asdict(config.model), "device": asdict(config.device), "seed": config.seed}
    data = None if config.data_dir is None else str(Path(config.data_dir) / GLUE[task].folder)
    of_task = {key: value for key, value in config.task.items() if key != "name"}
    of_task |= {} if data is None else {"data_dir": data}
    options = {option: getattr(config, option) for option in STAGES[command]}
    values = {**shared, **options, "task": of_task, "folder": str(Path(config.folder) / task)}
    return [f"task={task}", *(f"++{key}={_written(value)}" for key, value in _leaves(values))]


def _leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and their values; an empty dictionary says nothing."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _written(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_written, value)) + "]"
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
