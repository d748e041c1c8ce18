"""How a command is composed by Hydra and launched in its run folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.metadata import check as check_checkpoint
from latadj.commands.common.dial_checks import dial_to_explain, dial_to_generate, require_dial, uses_pretrained
from latadj.commands.common.teacher_checks import check_teacher, teacher_of
from latadj.commands.evaluation.compared_models import ComparedModel, models_to_compare
from latadj.commands.prune.checks import check_to_prune
from latadj.config import (
    CalibrateConfig,
    EvalConfig,
    ExplainConfig,
    FinetuneConfig,
    GenerateConfig,
    PredictConfig,
    PruneConfig,
    RunConfig,
    SweepConfig,
)
from latadj.config.compose import completed, compose, compose_mode, hydra_for, typed
from latadj.config.speedups import parse_speedups
from latadj.inference.streams.plan import check_plan
from latadj.utils import hub
from latadj.utils.files import check_replaceable

Prepared = TypeVar("Prepared")
Result = TypeVar("Result")

# Where each command is; they import torch, so they are imported only when they run.
MODULES = {
    command: f"latadj.commands.{module}"
    for command, module in {
        "finetune": "finetune",
        "prune": "prune.prune",
        "calibrate": "calibrate",
        "sweep": "evaluation.sweep",
        "eval": "evaluation.evaluate",
        "predict": "predict",
        "bench": "bench",
        "generate": "generate",
        "glue": "glue.glue",
        "explain": "explain",
        "report": "report",
    }.items()
}


def prompt_and_overrides(
    arguments: list[str], file: Path | None, what: str = "prompt", example: str = 'generate "Once upon a time"'
) -> tuple[str, list[str]]:
    """The text that a command is given: the first argument, whatever it looks like, or all of a file.

    Parameters
    ----------
    what, example : how the command calls it, and a call of the command

    Raises
    ------
    ValueError
        if there is no text, there are two, or the file is not text.
    """
    if file is None:
        if not arguments:
            raise ValueError(f"no {what}: give one, as in `latadj {example}`, or --file FILE")
        return arguments[0], arguments[1:]
    texts = [argument for argument in arguments if "=" not in argument]
    if texts:
        raise ValueError(f"--file {file} and the {what} {texts[0]!r}: give one of them")
    try:
        return file.read_text(encoding="utf-8-sig"), arguments
    except UnicodeDecodeError as error:
        raise ValueError(f"--file {file}: this is no UTF-8 text ({error.reason} at byte {error.start})") from error


def check_early(
    command: str, overrides: list[str]
) -> tuple[RunConfig, CheckpointMetadata | list[ComparedModel] | None]:
    """Refuse what can be refused before torch is imported: bad overrides, a missing checkpoint or hub.

    Returns
    -------
    the typed config, and what was read of checkpoints, for the command's ``prepare``: metadata, or the models to
    compare; None if nothing was read

    Raises
    ------
    ValueError, HydraException, OmegaConfBaseException
    """
    config = typed(command, compose(command, overrides))
    checked: CheckpointMetadata | list[ComparedModel] | None = None
    if isinstance(config, FinetuneConfig):
        hub.model_source(config.model.path)
        source, kept, named = Path(config.model.path), [Path(config.folder) / "finetune"], teacher_of(config)
        if named is not None:
            kept.append(named[1])
        for option, folder in (("checkpoint", config.checkpoint), ("folder", f"{config.folder}/plain")):
            # Without plain fine-tuning the plain model is the source, which may come back to its own place.
            same = option == "folder" and config.plain.epochs == 0
            check_replaceable(option, folder, kept if same or not source.is_dir() else [*kept, source])
    elif isinstance(config, SweepConfig) and config.compare.models:
        checked = models_to_compare(config)
    elif isinstance(config, (SweepConfig, EvalConfig)):
        checked = require_dial(config, parse_speedups(config.speedup))
    elif isinstance(config, CalibrateConfig) and uses_pretrained(config):
        hub.model_source(config.model.path)
    elif isinstance(config, CalibrateConfig):
        checked = check_checkpoint(Path(config.checkpoint), config.task)
    elif isinstance(config, ExplainConfig):
        checked = dial_to_explain(config)
    elif isinstance(config, GenerateConfig):
        checked = dial_to_generate(config)
        if checked is None:
            hub.model_source(config.model.path)
    elif isinstance(config, PredictConfig):
        checked = check_plan(config)
    elif isinstance(config, PruneConfig):
        check_to_prune(config)
    if isinstance(config, (FinetuneConfig, PruneConfig)):
        check_teacher(config)
    # The others take of a task no more than its name.
    if isinstance(config, (FinetuneConfig, CalibrateConfig, SweepConfig, EvalConfig, PruneConfig)):
        task = config.task
        if task.hub and not (task.data_dir or task.data_files):
            hub.require_data(task.hub.path)
    return config, checked


def launch(
    command: str,
    overrides: list[str],
    prepare: Callable[[Any], Prepared],
    run: Callable[[Prepared], Result],
    multirun: bool = False,
) -> Result | None:
    """Compose a command's config and run the command in Hydra's run folder.

    Parameters
    ----------
    overrides : Hydra overrides such as ``task=sst2``
    prepare : typed config -> all that ``run`` needs; it writes nothing, so bad input leaves no folder behind
    run : does the work and writes its results
    multirun : sweep over comma-separated overrides

    Returns
    -------
    what ``run`` returned; with ``multirun`` None
    """
    overrides = completed(command, overrides)
    with hydra_for(command) as instance:
        failures: list[Exception] = []

        def guarded(work: Callable[[], Result]) -> Result | None:
            # Hydra would write a line of its own about an error that passes through it.
            try:
                return work()
            except Exception as error:
                failures.append(error)
                return None

        result = None
        if multirun:
            folders: list[str] = []
            instance.multirun(
                command, lambda cfg: guarded(lambda: run(prepare(_in_own_folder(command, cfg, folders)))), overrides
            )
        else:
            composed = instance.compose_config(config_name=command, overrides=overrides, **compose_mode())
            prepared = prepare(typed(command, composed))
            result = instance.run(command, lambda cfg: guarded(lambda: run(prepared)), overrides).return_value
        if failures:
            raise failures[0]
        return result


def _in_own_folder(command: str, composed: DictConfig, folders: list[str]) -> RunConfig:
    """The typed config of one job of a multirun, whose folder no job before it had."""
    config = typed(command, composed)
    if config.folder in folders:
        raise ValueError(
            f"folder={config.folder}: two jobs of a multirun would overwrite each other; give each its own, such as "
            "'folder=outputs/${model.name}-${task.name}-${seed}'"
        )
    folders.append(config.folder)
    return config
