"""The commands that `latadj glue` runs for each task, as Hydra overrides, and what is refused without torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from latadj.config import CalibrateConfig, GlueConfig
from latadj.config.commands.glue import STAGES
from latadj.config.compose import compose, typed
from latadj.config.speedups import shown_speedups
from latadj.tasks.glue import GLUE, HUB
from latadj.utils import hub


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
    leaves: list[tuple[str, Any]] = []
    for key, value in values.items():
        leaves += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return leaves


def _written(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_written, value)) + "]"
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def check(config: GlueConfig) -> None:
    """Refuse what can be refused of `latadj glue` before torch is imported, for all of its tasks and commands.

    Raises
    ------
    ValueError, HydraException, OmegaConfBaseException
    """
    hub.model_source(config.model.path)
    for command in STAGES:  # the options are the same for every task
        stage = typed(command, compose(command, stage_overrides(config, config.tasks[0], command)))
        if not isinstance(stage, CalibrateConfig):
            continue
        wanted = {"speedup": config.speedup, "submission": config.submission_speedups()}
        for key, speedups in wanted.items():
            if max(speedups, default=1.0) <= stage.calibration.max_speedup:
                continue
            raise ValueError(
                f"{key}={shown_speedups(speedups)}: the dials will end at calibration.max_speedup="
                f"{stage.calibration.max_speedup:g}; ask for less, or raise that"
            )
    if config.data_dir is not None:
        _require_folders(config, Path(config.data_dir))
        return
    try:
        hub.require_data(HUB)
    except ValueError as error:
        raise ValueError(
            f"the Hugging Face hub cannot be reached and {HUB} is not in its cache: name the folder that holds GLUE's "
            f"folders ({', '.join(GLUE[task].folder for task in config.tasks)}) with data_dir=FOLDER"
        ) from error


def _require_folders(config: GlueConfig, root: Path) -> None:
    missing = [GLUE[task].folder for task in config.tasks if not (root / GLUE[task].folder).is_dir()]
    if missing:
        left = [task for task in config.tasks if GLUE[task].folder not in missing]
        others = f"leave them out with tasks=[{','.join(left)}]" if left else "name the folder that holds them"
        raise ValueError(
            f"data_dir={root}: no folder {', '.join(missing)}; {others}, or give no data_dir for the hub's"
        )
