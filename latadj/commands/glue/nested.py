"""Commands that run inside another one, each in a run folder of its own as if a user had called it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from latadj.commands.glue.stages import stage_overrides
from latadj.commands.launch import MODULES, launch
from latadj.config import CalibrateConfig, GlueConfig, RunConfig
from latadj.config.compose import compose, typed
from latadj.config.glue_options import STAGES
from latadj.config.speedups import parse_speedups
from latadj.config.validation import submission_speedups
from latadj.tasks.glue import GLUE, HUB
from latadj.utils import hub


class Stages:
    """What a command needs of those that it runs."""

    def config(self, command: str, overrides: list[str]) -> RunConfig:
        """The typed config that overrides compose to."""
        return typed(command, compose(command, overrides))

    def run(self, command: str, overrides: list[str]) -> Any:
        """Run a command and return what its ``run`` returned."""
        work = import_module(MODULES[command])
        with _own_log():
            return launch(command, overrides, work.prepare, work.run)


def check_glue(overrides: list[str]) -> GlueConfig:
    """Refuse what can be refused of `latadj glue` before torch is imported, for all of its tasks and commands.

    Raises
    ------
    ValueError, HydraException, OmegaConfBaseException
    """
    config = typed("glue", compose("glue", overrides))
    assert isinstance(config, GlueConfig)
    hub.model_source(config.model.path)
    stages = Stages()
    for command in STAGES:  # the options are the same for every task
        found = stages.config(command, stage_overrides(config, config.tasks[0], command))
        if not isinstance(found, CalibrateConfig):
            continue
        wanted = {"speedup": parse_speedups(config.speedup), "submission": submission_speedups(config)}
        for key, speedups in wanted.items():
            if max(speedups, default=1.0) <= found.calibration.max_speedup:
                continue
            raise ValueError(
                f"{key}={getattr(config, key)}: the dials will end at calibration.max_speedup="
                f"{found.calibration.max_speedup:g}; ask for less, or raise that"
            )
    if config.data_dir is not None:
        _require_folders(config, Path(config.data_dir))
        return config
    try:
        hub.require_data(HUB)
    except ValueError as error:
        raise ValueError(
            f"the Hugging Face hub cannot be reached and {HUB} is not in its cache: name the folder that holds GLUE's "
            f"folders ({', '.join(GLUE[task].folder for task in config.tasks)}) with data_dir=FOLDER"
        ) from error
    return config


def _require_folders(config: GlueConfig, root: Path) -> None:
    missing = [GLUE[task].folder for task in config.tasks if not (root / GLUE[task].folder).is_dir()]
    if missing:
        left = [task for task in config.tasks if GLUE[task].folder not in missing]
        others = f"leave them out with tasks=[{','.join(left)}]" if left else "name the folder that holds them"
        raise ValueError(
            f"data_dir={root}: no folder {', '.join(missing)}; {others}, or give no data_dir for the hub's"
        )


@contextmanager
def _own_log() -> Iterator[None]:
    """Hydra points the log at the folder of the command that it runs; afterwards it goes where it went before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
