"""latadj glue: finetune, calibrate and sweep GLUE's tasks one after the other, and GLUE's tables of all of them."""

import logging
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from latadj.checkpoints.metadata import METADATA_FILE
from latadj.commands.common.resume import FinetuneState
from latadj.commands.common.training_checks import check_finetune
from latadj.commands.glue import submission as glue_submission
from latadj.commands.glue.stages import stage_overrides
from latadj.commands.launch import launch
from latadj.commands.table import COMMANDS
from latadj.config import CommandConfig, FinetuneConfig, GlueConfig, SweepConfig
from latadj.config.commands.glue import STAGES
from latadj.config.compose import compose, typed
from latadj.devices import device
from latadj.devices.environment import environment
from latadj.reporting.results.glue import Glue, GlueResult
from latadj.reporting.results.sweep import Sweep
from latadj.tasks.data.classification import load_labelled_texts
from latadj.tasks.glue import FILES
from latadj.utils.files import read_json
from latadj.utils.run_state import RunState

log = logging.getLogger("latadj")
# Settings that do not change what a command finds, so that it is not done again when they change.
ASIDE = ("folder", "checkpoint", "exported", "experiment", "resume")


@dataclass
class TaskState(RunState):
    """The commands that are done for a task, in ``FOLDER/TASK/state.json``.

    settings : command -> the settings that it was done with
    seconds : command -> the time that it took
    examples : of each split
    """

    SCHEMA: ClassVar[str] = "latadj.glue-state/1"
    LABEL: ClassVar[str] = "state of a task"
    RESTART: ClassVar[str] = "delete it, or start anew with resume=false"

    seconds: dict[str, float] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.settings.keys() != self.seconds.keys():
            raise ValueError("settings and seconds are not of the same commands")

    def forget(self, command: str) -> None:
        """Take a command as not done."""
        self.settings.pop(command, None)
        self.seconds.pop(command, None)


@dataclass
class TaskRun:
    """One task, the configs of its commands, and how far it has come."""

    name: str
    configs: dict[str, CommandConfig]
    state: TaskState

    @property
    def folder(self) -> Path:
        return Path(self.configs["sweep"].folder)

    @property
    def finished(self) -> bool:
        """Whether all commands are done."""
        return len(self.state.settings) == len(STAGES)

    def write(self) -> None:
        """Write down how far it has come."""
        self.state.write(self.folder / "state.json")


@dataclass
class GlueRun:
    """What `latadj glue` is about to do."""

    config: GlueConfig
    tasks: list[TaskRun]


def prepare(config: GlueConfig) -> GlueRun:
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
            composed = typed(command, compose(command, stage_overrides(config, name, command)))
            assert isinstance(composed, CommandConfig)
            configs[command] = composed
        task = _task_run(name, configs, config.resume)
        tasks.append(task)
        try:
            if "finetune" not in task.state.settings:
                fine_tuning = configs["finetune"]
                assert isinstance(fine_tuning, FinetuneConfig)
                check_finetune(fine_tuning)
            if not task.finished:
                splits = load_labelled_texts(configs["finetune"].task)
                parts = {"train": splits.train, "validation": splits.validation, **splits.tests}
                task.state.examples = {part: len(examples) for part, examples in parts.items()}
        except (ValueError, OSError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError(f"{len(problems)} of {len(tasks)} tasks cannot be run: " + "; ".join(problems))
    if config.submission_speedups():
        there = [file for task in tasks for file in glue_submission.there(task.name, task.configs["sweep"].task)]
        left = ", ".join(file for file in FILES if file not in there)
        if left:
            log.warning("submission: no test examples for %s; GLUE's server takes a zip with all files only", left)
    return GlueRun(config, tasks)


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
        _collect(plan).write(folder)
    glue = _collect(plan)
    submitted: dict[float, dict[str, str]] = {speedup: {} for speedup in config.submission_speedups()}
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
    glue.report(folder)
    return glue


def _task_run(name: str, configs: dict[str, CommandConfig], resume: bool) -> TaskRun:
    """A task with those commands done that an earlier run finished with the same settings, up to the first other."""
    task = TaskRun(name, configs, TaskState({}))
    path = task.folder / "state.json"
    if not resume or not path.is_file():
        return task
    before = TaskState.read(path)
    task.state.examples = before.examples
    for command in STAGES:
        if before.settings.get(command) != _settings(configs[command]):
            break
        task.state.settings[command] = before.settings[command]
        task.state.seconds[command] = before.seconds[command]
    if not (task.folder / "sweep" / "sweep.json").is_file():
        task.state.forget("sweep")
    if not task.finished and not (Path(configs["sweep"].checkpoint) / METADATA_FILE).is_file():
        task.state = TaskState({}, examples=before.examples)
    return task


def _settings(config: CommandConfig) -> dict[str, Any]:
    """What a command's result depends on, as JSON gives it back."""
    settings = {key: value for key, value in asdict(config).items() if key not in ASIDE}
    if not isinstance(config, SweepConfig):
        settings["task"] = {**settings["task"], "max_test": None}  # only the sweep reads the test split
    if isinstance(config, FinetuneConfig):
        settings["device"] = settings["device"]["train_precision"]
    return settings


def _run_task(plan: GlueRun, task: TaskRun) -> None:
    for command in STAGES:
        if command in task.state.settings:
            continue
        overrides = stage_overrides(plan.config, task.name, command)
        if command == "finetune" and plan.config.resume and _may_resume(task.configs[command]):
            overrides.append("resume=true")
        elif command == "finetune":
            overrides.append("overwrite=true")
        task.write()  # without this command and those after it: they are no longer what they were
        start = time.monotonic()
        run_stage(command, overrides)
        task.state.seconds[command] = round(time.monotonic() - start, 1)
        task.state.settings[command] = _settings(task.configs[command])
        task.write()


def run_stage(command: str, overrides: list[str]) -> None:
    """Run a command in a run folder of its own, as if a user had called it."""
    work, root = COMMANDS[command].load(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        launch(command, overrides, work.prepare, work.run)
    finally:
        # Hydra points the log at the folder of the command that it runs; now it goes where it went before.
        root.handlers[:] = handlers
        root.setLevel(level)


def _may_resume(config: CommandConfig) -> bool:
    """Whether the fine-tuning that lies in the task's folder was started with these settings."""
    assert isinstance(config, FinetuneConfig)
    try:
        FinetuneState.of(replace(config, resume=True))
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
            results.append(GlueResult.of(sweep, task.state.examples, task.state.seconds))
    return Glue(
        model=plan.config.model.name,
        speedups=plan.config.speedup,
        tasks=results,
        environment=environment(device.choose(plan.config.device), precision),
        config=asdict(plan.config),
    )
