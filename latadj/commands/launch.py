"""How a command is composed by Hydra and launched in its run folder."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig

from latadj.checkpoints.hub_folder import local_folder, on_hub
from latadj.commands.finished import Finished, forget
from latadj.commands.table import COMMANDS
from latadj.config import ExportConfig, RunConfig, ServeConfig
from latadj.config.commands.base import DialedConfig
from latadj.config.compose import completed, compose, hydra_for, typed
from latadj.utils.locks import only_writer

Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


@dataclass
class Checked:
    """What is known of a command before torch is imported.

    composed, config : its config as Hydra composed it, and typed
    found : what the command's check has read, if anything
    """

    composed: DictConfig
    config: RunConfig
    found: Any


def check_early(command: str, overrides: list[str]) -> Checked:
    """Refuse what can be refused before torch is imported: bad overrides, a missing checkpoint or hub.

    Raises
    ------
    ValueError, HydraException, OmegaConfBaseException
    """
    composed = compose(command, overrides)
    config = settings(command, composed)
    return Checked(composed, config, COMMANDS[command].check(config))


def launch(
    command: str,
    overrides: list[str],
    prepare: Callable[..., Prepared],
    run: Callable[[Prepared], Result],
    *,
    composed: DictConfig | None = None,
) -> Result | None:
    """Compose a command's config and run the command in Hydra's run folder.

    Parameters
    ----------
    overrides : Hydra overrides such as ``task=sst2``
    prepare : typed config -> all that ``run`` needs; it writes nothing, so bad input leaves no folder behind
    run : does the work and writes its results
    composed : the config, if it has been composed and checked already

    Returns
    -------
    what ``run`` returned
    """
    given, overrides = overrides, completed(command, overrides)
    with hydra_for(command) as instance:
        failures: list[Exception] = []

        def guarded(prepared: Prepared, config: RunConfig) -> Result | None:
            # Hydra would write a line of its own about an error that passes through it.
            try:
                return carried_out(command, config, prepared, run)
            except Exception as error:
                failures.append(error)
                return None

        early, composed = composed is not None, compose(command, given) if composed is None else composed
        # Hydra would compose it once more, which takes as long as all else that it does.
        instance.compose_config = lambda **_: composed
        config = settings(command, composed)
        prepared = prepare(config) if early else checked(command, config, prepare)
        with alone(command, config):
            result = instance.run(command, lambda _: guarded(prepared, config), overrides).return_value
        if failures:
            raise failures[0]
        return result


def settings(command: str, composed: DictConfig) -> RunConfig:
    """The command's typed config; a checkpoint on the hub that it only reads is fetched, unless it is in the cache.

    Raises
    ------
    ValueError, OmegaConfBaseException
    """
    config = typed(command, composed)
    if not isinstance(config, (DialedConfig, ServeConfig, ExportConfig)) or not on_hub(config.checkpoint):
        return config
    return replace(config, checkpoint=str(local_folder(config.checkpoint)))


def carried_out(
    command: str,
    config: RunConfig,
    prepared: Prepared,
    run: Callable[[Prepared], Result],
    multirun: str = "",
    job: int = 0,
) -> Result:
    """Run a command that is prepared, and note in its folder that it ended well; parameters as in ``Finished``."""
    if not COMMANDS[command].alone:
        return run(prepared)
    forget(command, config)
    result = run(prepared)
    Finished.of(command, config, multirun, job).write(command, config)
    return result


def checked(command: str, config: RunConfig, prepare: Callable[..., Prepared]) -> Prepared:
    """Refuse what the command's check refuses, such as folders that would be lost, and prepare it."""
    found = COMMANDS[command].check(config)
    return prepare(config) if found is None else prepare(config, checked=found)


def alone(command: str, config: RunConfig) -> AbstractContextManager[None]:
    """Hold the run folder, unless the command may run beside others of the same folder."""
    if not COMMANDS[command].alone:
        return nullcontext()
    return only_writer(Path(config.folder) / ".lock", f"folder={config.folder}")
