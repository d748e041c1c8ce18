"""latadj glue: finetune, calibrate and sweep GLUE's tasks one after the other, and GLUE's tables of all of them."""

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from latadj.checkpoints.metadata import METADATA_FILE
from latadj.commands.common.session import as_dict
from latadj.commands.finetune import State
from latadj.commands.glue import submission as glue_submission
from latadj.commands.glue.stages import stage_overrides
from latadj.config import CommandConfig, FinetuneConfig, GlueConfig, RunConfig, SweepConfig
from latadj.config.glue_options import STAGES
from latadj.config.speedups import parse_speedups
from latadj.config.validation import submission_speedups
from latadj.devices import select as device
from latadj.devices.environment import environment
from latadj.reporting.output import show, write
from latadj.reporting.results.glue import Glue, GlueResult
from latadj.reporting.results.sweep import Sweep
from latadj.tasks.data.classification import load_splits
from latadj.tasks.glue import FILES
from latadj.utils.files import read_json, write_json

log = logging.getLogger("latadj")
# What has no say in what a command finds, so that a change of it does no work again.
ASIDE = ("folder", "checkpoint", "experiment", "resume")


class Stages(Protocol):
    """The commands below, as `latadj.commands.glue.nested` runs them."""

    def config(self, command: str, overrides: list[str]) -> RunConfig:
        """The typed config that overrides compose to."""

    def run(self, command: str, overrides: list[str]) -> Any:
        """Run a command in its own run folder."""


@dataclass
class TaskRun:
    """One task and how far it has come, which ``FOLDER/TASK/state.json`` holds.

    configs : of each command
    examples : of each split
    done : command -> the settings that it was done with, and the seconds that it took
    """

    name: str
    configs: dict[str, CommandConfig]
    examples: dict[str, int]
    done: dict[str, dict[str, Any]]

    @property
    def folder(self) -> Path:
        return Path(self.configs["sweep"].folder)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for it."""
        return len(self.done) == len(STAGES)

    def write(self) -> None:
        """Write down how far it has come."""
        write_json(self.folder / "state.json", {"examples": self.examples, "done": self.done})


@dataclass
class GlueRun:
    """What `latadj glue` is about to do."""

    config: GlueConfig
    stages: Stages
    tasks: list[TaskRun]


def prepare(config: GlueConfig, stages: Stages) -> GlueRun:
    """Compose every command of every task and read all data that is needed, before anything is trained.

    Raises
    ------
    ValueError
        naming every task that cannot be run, and why.
    """
    device.choose(config.device)
    tasks, problems = [], []
    for name in config.tasks:
        configs: dict[str, CommandConfig] = {}
        for command in STAGES:
            found = stages.config(command, stage_overrides(config, name, command))
            assert isinstance(found, CommandConfig)
            configs[command] = found
        task = _task_run(name, configs, config.resume)
        tasks.append(task)
        try:
            if not task.finished:
                splits = load_splits(configs["finetune"].task)
                parts = {"train": splits.train, "validation": splits.validation, **splits.tests}
                task.examples = {part: len(examples) for part, examples in parts.items()}
        except (ValueError, OSError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError(f"{len(problems)} of {len(tasks)} tasks cannot be run: " + "; ".join(problems))
    if submission_speedups(config):
        there = [file for task in tasks for file in glue_submission.there(task.name, task.configs["sweep"].task)]
        left = ", ".join(file for file in FILES if file not in there)
        if left:
            log.warning("submission: no test examples for %s; GLUE's server takes a zip with all files only", left)
    return GlueRun(config, stages, tasks)


def run(plan: GlueRun) -> Glue:
    """Do what is left to do of each task; tables are written after each one, and printed at the end.

    Returns
    -------
    what ``FOLDER/glue.json`` holds
    """
    config, folder = plan.config, Path(plan.config.folder)
    for number, task in enumerate(plan.tasks, start=1):
        if task.finished:
            log.info("task %d of %d: %s was finished before", number, len(plan.tasks), task.name)
            continue
        log.info("task %d of %d: %s", number, len(plan.tasks), task.name)
        _run_task(plan, task)
        write(_collect(plan), folder)
    glue = _collect(plan)
    submitted: dict[float, dict[str, str]] = {speedup: {} for speedup in submission_speedups(config)}
    for task in plan.tasks if submitted else ():
        sweep = task.configs["sweep"]
        assert isinstance(sweep, SweepConfig)
        for speedup, texts in glue_submission.answers(task.name, sweep, list(submitted)).items():
            submitted[speedup].update(texts)
    for speedup, texts in submitted.items():
        name = f"submission-{speedup:g}x.zip"
        glue.submissions[name] = sorted(texts)
        glue_submission.write_zip(folder / name, texts)
        left = [file for file in FILES if file not in texts]
        also = f"; GLUE's server wants {', '.join(left)} too" if left else ""
        log.info("wrote %s with %s%s", folder / name, ", ".join(texts) or "nothing", also)
    written = write(glue, folder)
    show(glue)
    log.info("wrote %s to %s", written, folder)
    return glue


def _task_run(name: str, configs: dict[str, CommandConfig], resume: bool) -> TaskRun:
    """A task with those commands done that an earlier run finished with the same settings, up to the first other."""
    task = TaskRun(name, configs, {}, {})
    path = task.folder / "state.json"
    if not resume or not path.is_file():
        return task
    state = read_json(path, "state of a task", "delete it, or start anew with resume=false")
    for command in STAGES:
        done = state["done"].get(command)
        if done is None or done["settings"] != _settings(configs[command]):
            break
        task.done[command] = done
    checkpoint = Path(configs["sweep"].checkpoint)
    if not (task.folder / "sweep" / "sweep.json").is_file():
        task.done.pop("sweep", None)
    if not task.finished and not (checkpoint / METADATA_FILE).is_file():
        task.done.clear()
    task.examples = state["examples"]
    return task


def _settings(config: CommandConfig) -> dict[str, Any]:
    """What a command's result depends on, as JSON gives it back."""
    found = {key: value for key, value in as_dict(config).items() if key not in ASIDE}
    if not isinstance(config, SweepConfig):
        found["task"] = {**found["task"], "max_test": None}  # only the sweep reads the test split
    if isinstance(config, FinetuneConfig):
        found["device"] = found["device"]["train_precision"]
    return found


def _run_task(plan: GlueRun, task: TaskRun) -> None:
    for command in STAGES:
        if command in task.done:
            continue
        overrides = stage_overrides(plan.config, task.name, command)
        if command == "finetune" and plan.config.resume and _may_resume(task.configs[command]):
            overrides.append("resume=true")
        task.write()  # without this command and those after it: they are no longer what they were
        start = time.monotonic()
        plan.stages.run(command, overrides)
        seconds = round(time.monotonic() - start, 1)
        task.done[command] = {"settings": _settings(task.configs[command]), "seconds": seconds}
        task.write()


def _may_resume(config: CommandConfig) -> bool:
    """Whether the fine-tuning that lies in the task's folder was started with these settings."""
    assert isinstance(config, FinetuneConfig)
    try:
        State.of(replace(config, resume=True))
    except ValueError:
        return False
    return True


def _collect(plan: GlueRun) -> Glue:
    """The result over the tasks that are finished."""
    results, precision = [], plan.config.device.precision
    for task in plan.tasks:
        if task.finished:
            path = task.folder / "sweep" / "sweep.json"
            sweep = Sweep.from_json(read_json(path, "sweep", "start anew with resume=false"))
            precision = sweep.environment["precision"]
            seconds = {command: done["seconds"] for command, done in task.done.items()}
            results.append(GlueResult.of(sweep, task.examples, seconds))
    return Glue(
        model=plan.config.model.name,
        speedups=parse_speedups(plan.config.speedup),
        tasks=results,
        environment=environment(device.choose(plan.config.device), precision),
        config=asdict(plan.config),
    )
