"""How a command is composed by Hydra and launched in its run folder."""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig

from latadj.checkpoints.hub_folder import local_folder, on_hub
from latadj.commands.finished import Finished, forget
from latadj.commands.table import COMMANDS
from latadj.config import ExportConfig, RunConfig, ServeConfig
from latadj.config.commands.base import DialedConfig
from latadj.config.compose import completed, compose, hydra_for, typed
from latadj.config.errors import USER_ERRORS
from latadj.devices import processes
from latadj.utils.console import console
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

    def check() -> Checked:
        composed = compose(command, overrides)
        config = settings(command, composed)
        return Checked(composed, config, COMMANDS[command].check(config))

    return check() if processes.size() == 1 else _check_together(check)


def _check_together(check: Callable[[], Checked]) -> Checked:
    """Check in each of several processes, which meet here and go on only if all of them can, with the same options."""
    # Before torch is imported, whose own words about a lost connection stand beside ours.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    from latadj.devices import ranks

    def on_own_device() -> Checked:
        checked = check()
        ranks.take_device(checked.config.device)
        return checked

    ranks.join()
    checked = ranks.agree_on(on_own_device, USER_ERRORS)
    ranks.require_same(asdict(checked.config))
    if processes.rank():
        logging.getLogger("latadj").setLevel(logging.ERROR)
        console.quiet = True
    return checked


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

        def guarded(work: Callable[[], Result]) -> Result | None:
            # Hydra would write a line of its own about an error that passes through it.
            try:
                return work()
            except Exception as error:
                failures.append(error)
                return None

        early, composed = composed is not None, compose(command, given) if composed is None else composed
        # Hydra would compose it once more, which takes as long as all else that it does.
        instance.compose_config = lambda **_: composed
        config = settings(command, composed)
        if processes.size() > 1:
            from latadj.devices import ranks

            prepared = ranks.agree_on(lambda: prepare(config), USER_ERRORS)
        else:
            prepared = prepare(config) if early else checked(command, config, prepare)
        if processes.rank():  # the first process writes, also what Hydra does
            result = guarded(lambda: run(prepared))
        else:
            with alone(command, config):
                result = instance.run(
                    command, lambda _: guarded(lambda: carried_out(command, config, prepared, run)), overrides
                ).return_value
        if processes.size() > 1 and not failures:
            ranks.finish()
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
