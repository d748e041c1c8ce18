"""A command over all combinations of comma-separated values, by whichever launcher of Hydra's."""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4

from omegaconf import DictConfig, OmegaConf

from latadj.commands.finished import Finished
from latadj.commands.launch import alone, carried_out, checked, settings
from latadj.commands.table import COMMANDS
from latadj.config import RunConfig
from latadj.config.compose import completed, hydra_for, readable_conf
from latadj.config.errors import USER_ERRORS, one_line
from latadj.config.launchers import SERIAL, at_once, job_count, launcher_of, own_defaults
from latadj.config.renamed import keys_of
from latadj.devices.affinity import affinity, pin
from latadj.devices.slots import shares, slot
from latadj.reporting.table import Table
from latadj.utils.console import console
from latadj.utils.readable import message

log = logging.getLogger("latadj")
DONE, BEFORE, FAILED = "done", "done before", "failed"
OUTPUT = "output.txt"


@dataclass
class Outcome:
    """What became of one job.

    what : the overrides that make it this job
    state : ``DONE``, ``BEFORE`` or ``FAILED``, with what went wrong
    code : exit code
    """

    number: int
    what: str
    folder: str
    state: str
    error: str = ""
    code: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """What a launcher runs for each job, in a process of its choice.

    multirun : names the multirun
    launcher : name of Hydra's launcher
    share : jobs at once and CPUs of each, see :func:`latadj.config.launchers.at_once`; None: no CPUs are shared out
    """

    command: str
    multirun: str
    launcher: str
    share: tuple[int | None, int | None] | None

    def __call__(self, composed: DictConfig) -> Outcome:
        """Run the job; an error is its outcome, so that the others go on."""
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        outcome = Outcome(int(hydra.job.num), hydra.job.override_dirname or "the only one", "", FAILED, code=2)
        start = time.monotonic()
        try:
            with self._output(Path(hydra.runtime.output_dir)):
                self._run(composed, outcome)
        except USER_ERRORS as error:
            outcome.error = message(one_line(error))
            log.error("%s", outcome.error)
        except Exception as error:  # the others have nothing to do with it
            log.exception("job %d ended early", outcome.number)
            outcome.error = f"{type(error).__name__}: {message(one_line(error))}"
        outcome.seconds = time.monotonic() - start
        return outcome

    @contextmanager
    def _output(self, folder: Path) -> Iterator[None]:
        """Let jobs that run side by side write into files: on a terminal their lines would mix."""
        with ExitStack() as stack:
            if self.launcher != SERIAL:
                file = stack.enter_context((folder / OUTPUT).open("w", encoding="utf-8"))
                stack.enter_context(redirect_stdout(file))
                stack.enter_context(redirect_stderr(file))
            yield

    def _run(self, composed: DictConfig, outcome: Outcome) -> None:
        config = settings(self.command, composed)
        outcome.folder = config.folder
        before = Finished.read(self.command, config)
        if before is not None and before.multirun == self.multirun:
            raise ValueError(
                f"folder={config.folder}: two jobs of a multirun would overwrite each other; give each its own, such "
                "as 'folder=outputs/${model.name}-${task.name}-${seed}'"
            )
        if before is not None and before.serves(self.command, config):
            replace(before, multirun=self.multirun).write(self.command, config)
            log.info("%s: done before, with the same config", config.folder)
            outcome.state, outcome.code = BEFORE, 0
            return
        with self._cpus(config) as placed:
            work = COMMANDS[self.command].load()
            prepared = checked(self.command, placed, work.prepare)
            with alone(self.command, placed):
                # Noted as it was asked for: where a job was placed is no part of what it finds.
                result = carried_out(self.command, config, prepared, work.run, self.multirun, outcome.number)
        outcome.state, outcome.code = DONE, work.exit_code(result) if hasattr(work, "exit_code") else 0

    @contextmanager
    def _cpus(self, config: RunConfig) -> Iterator[RunConfig]:
        """The config with the CPUs of the job's own, on which this process stays; before torch is imported."""
        if self.share is None:
            if config.device.cpus:
                pin(config.device.cpus)
            yield config
            return
        with slot(_slots(self.multirun), config.device.cpus, *self.share) as own:
            if affinity() is None:  # this system pins nothing: no more threads than CPUs is all that can be done
                yield replace(config, device=replace(config.device, threads=config.device.threads or len(own.cpus)))
                return
            pin(own.cpus)
            yield replace(config, device=replace(config.device, cpus=own.cpus))


def run_all(command: str, overrides: list[str]) -> int:
    """Run a command for every combination of comma-separated values, and say what became of each.

    Returns
    -------
    exit code: 0 if all jobs have ended well, now or before

    Raises
    ------
    ValueError, HydraException, OmegaConfBaseException
        for what no job can run with.
    """
    from hydra.types import RunMode

    given = completed(command, overrides)
    with hydra_for(command) as instance, readable_conf(command):
        composed = instance.compose_config(command, given, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        cpus = _cpu_count(composed)
        given += own_defaults(composed, given, keys_of(given), cpus)
        composed = instance.compose_config(command, given, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        name = launcher_of(composed)
        share = at_once(composed, cpus, job_count(given, composed))
        if share is not None:
            shares(cpus, *share)
        job = Job(command, uuid4().hex, name, share)
        try:
            outcomes = _outcomes(instance.multirun(command, job, given))
        except (*USER_ERRORS, MemoryError):
            raise
        except Exception as error:
            if name == SERIAL:
                raise
            raise ValueError(
                f"hydra/launcher={name}: a worker or the launcher itself ended early ({type(error).__name__}: "
                f"{one_line(error)}); the same command goes on, without the jobs that are done"
            ) from error
        finally:
            rmtree(_slots(job.multirun), ignore_errors=True)
    return _report(command, outcomes)


def _report(command: str, outcomes: list[Outcome]) -> int:
    """Show what became of the jobs; refuse if some failed."""
    rows = [[str(one.number), one.what, one.state, f"{one.seconds:.0f} s", one.folder] for one in outcomes]
    console.print(Table.of_cells("", ["job", "of", "", "time", "folder"], rows, left=3).fitted(console.width))
    failed = [one for one in outcomes if one.error]
    if failed:
        each = "; ".join(f"{one.what}: {one.error}" for one in failed)
        raise ValueError(f"{len(failed)} of {len(outcomes)} jobs failed: {each}")
    return max((one.code for one in outcomes), default=0)


def _outcomes(returned: Any) -> list[Outcome]:
    """Of the jobs, as a sweeper returns them: in batches, or not at all."""
    batches = returned if isinstance(returned, list) else []
    jobs = [job for batch in batches for job in (batch if isinstance(batch, (list, tuple)) else [batch])]
    return [job.return_value for job in jobs if isinstance(job.return_value, Outcome)]


def _cpu_count(composed: DictConfig) -> int:
    asked = composed.device.cpus
    if asked is None or isinstance(asked, str):  # the latter names several, one for each job
        return len(affinity() or range(os.cpu_count() or 1))
    if not OmegaConf.is_list(asked):
        raise ValueError(f"device.cpus={asked}: expected a list of numbers such as [0,1], or null")
    return len(set(asked))


def _slots(multirun: str) -> Path:
    """Of this machine, whatever file systems are shared with others."""
    return Path(tempfile.gettempdir()) / f"latadj-slots-{multirun}"
