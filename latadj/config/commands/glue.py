"""`latadj glue`, which runs other commands for each of GLUE's tasks."""

from dataclasses import dataclass
from typing import Any

from latadj.config.commands.base import RunConfig, speedups_option
from latadj.config.fields import at_least, option, shown
from latadj.config.speedups import parse_speedups

# GLUE's tasks, in the order of its table; each is a YAML of `conf/task`.
GLUE_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
# The commands of a task, in their order, and the options of `latadj glue` that each takes over.
STAGES: dict[str, tuple[str, ...]] = {
    "finetune": ("adjustable", "plain", "adjust", "calibration"),
    "calibrate": ("calibration", "search", "workload", "clock"),
    "sweep": ("speedup", "profile", "dial", "workload", "measure"),
}
# Options of `latadj glue` that hold any key of a command's: they need not be in its YAML.
OPEN = ("task", *{option: None for options in STAGES.values() for option in options})


def _submission(value: Any) -> Any:
    """A truth value, or the speedups that were given."""
    if value is None or isinstance(value, bool):
        return bool(value)
    try:
        return parse_speedups(value)
    except ValueError as error:
        raise ValueError(f"submission={value}: expected true, false, a speedup or a list of them") from error


def _options_of(what: str) -> Any:
    return option({}, f"{what}; what is left out is as in conf/ of these commands", type="KEY=VALUE below it")


@dataclass
class GlueConfig(RunConfig):
    """`latadj glue`."""

    tasks: list[str] = option([], f"GLUE's tasks to run, some of {', '.join(GLUE_TASKS)}")
    data_dir: str | None = option(None, "folder with GLUE's official folders CoLA, SST-2, ...; null: the hub")
    max_train: int | None = option(None, "most training examples of each task; null: all", at_least(1))
    max_test: int | None = option(None, "most test examples of each task; null: all", at_least(1))
    resume: bool = option(True, "leave out what an earlier run with the same settings finished")
    submission: Any = option(
        False,
        "test-set predictions for GLUE's server: true: at every speedup; 2 or [1,2]: at these",
        parse=_submission,
        type="true, false or speedups",
    )
    speedup: list[float] = speedups_option([1.0, 1.5, 2.0, 3.0])
    profile: str | None = option(None, "profile type, as in `latadj sweep`")
    adjustable: bool = option(True, "adjustable fine-tuning after the plain one")
    task: dict[str, Any] = _options_of("task.* of every task, such as task.max_length=64")
    plain: dict[str, Any] = _options_of("plain.* of `latadj finetune`, such as plain.epochs=5")
    adjust: dict[str, Any] = _options_of("adjust.* of `latadj finetune`, such as adjust.epochs=3")
    calibration: dict[str, Any] = _options_of("calibration.* of `latadj finetune` and `calibrate`")
    search: dict[str, Any] = _options_of("search.* of `latadj calibrate`, such as search.trials=0")
    clock: dict[str, Any] = _options_of("clock.* of `latadj calibrate`")
    workload: dict[str, Any] = _options_of("workload.* of `latadj calibrate` and `sweep`")
    dial: dict[str, Any] = _options_of("dial.* of `latadj sweep`")
    measure: dict[str, Any] = _options_of("measure.* of `latadj sweep`, such as measure.repeats=20")

    def problems(self) -> list[str]:
        problems = super().problems()
        if not self.tasks or not set(self.tasks) <= set(GLUE_TASKS) or len(set(self.tasks)) < len(self.tasks):
            problems.append(f"tasks={shown(self.tasks)}: expected a list of some of {', '.join(GLUE_TASKS)}, each once")
        return problems

    def submission_speedups(self) -> list[float]:
        """The speedups at which predictions are made for GLUE's server; none where nobody asked for them."""
        if isinstance(self.submission, bool):
            return self.speedup if self.submission else []
        return list(self.submission)


def opened(override: str) -> str:
    """An override of `latadj glue` with ``++`` before it, where it names a key that its YAML need not have.

    Raises
    ------
    ValueError
        if it chooses one task, as other commands take it.
    """
    key = override.partition("=")[0]
    if key == "task" and "=" in override:
        raise ValueError(f"{override}: glue takes a list, such as tasks=[sst2,cola]")
    return f"++{override}" if "." in key and key.split(".")[0] in OPEN else override
