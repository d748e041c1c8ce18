"""What every command has, and fields that several have."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from latadj.config.fields import Rule, Section, one_of, option, section
from latadj.config.options.dial import DialConfig
from latadj.config.options.model import DeviceConfig, ModelConfig
from latadj.config.options.prompt import PromptConfig
from latadj.config.options.task import GENERATION, HEAD_OF, TaskConfig
from latadj.config.speedups import one_speedup, parse_speedups
from latadj.elimination.profiles import PROFILE_TYPES

SEED = Rule("a number from 0 to 4294967295", lambda value: 0 <= value < 2**32)  # as numpy's generators take it


@dataclass
class RunConfig(Section):
    """What every command has."""

    model: ModelConfig = section(ModelConfig, "the model")
    device: DeviceConfig = section(DeviceConfig, "the device, and how it computes")
    folder: str = option(MISSING, "folder of the run; results are in a folder of it for each command")
    seed: int = option(0, "seed of everything that is drawn", SEED)
    experiment: Any = option(None, "a YAML of conf/experiment with options of any command", type="name")


@dataclass
class CommandConfig(RunConfig):
    """What every command about a task has."""

    task: TaskConfig = section(TaskConfig, "what is asked of the model")
    prompt: PromptConfig | None = option(None, "how a language model is asked; null: no prompt")
    checkpoint: str = option(MISSING, "folder of the fine-tuned model")

    @property
    def head(self) -> str:
        """The head that the model is loaded with; a prompt is answered by the language-modelling head."""
        if self.prompt is not None:
            return GENERATION
        return HEAD_OF.get(self.task.type, self.task.type)

    @property
    def generates(self) -> bool:
        """Whether the model has its language-modelling head: for running text, or for prompts."""
        return self.head == GENERATION

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.prompt is None:
            problems += [f"task.{problem}" for problem in self.task.head_problems()]
        return problems + self.prompt_problems()

    def prompt_problems(self) -> list[str]:
        """What is wrong with the prompt for the task."""
        return [] if self.prompt is None else self.prompt.problems_for(self.task)


@dataclass
class DialedConfig(CommandConfig):
    """What every command has that runs a model at a speedup of its dial."""

    speedup: Any = option(1.0, "speedup to run at, from 1 to the dial's end")
    profile: str | None = option(None, "profile type; null: the dial's own", one_of(*PROFILE_TYPES))
    dial: DialConfig = section(DialConfig, "what a speedup means")


def speedups_option(default: list[float]) -> Any:
    """Speedups to run at, one after the other."""
    return option(default, "speedups: 3, 1..5, 1..5:0.5 or [1,1.5,2]", parse=parse_speedups, type="speedups")


def runtime_option() -> Any:
    """Whether the checkpoint itself runs, or what is faster."""
    return option(
        None,
        "auto: what `latadj calibrate runtime=auto` found the fastest; null: what checkpoint= names",
        one_of("auto"),
    )


def escape_option() -> Any:
    """Whether predictions in CSV are made safe for spreadsheets."""
    return option(
        False,
        "CSV predictions for spreadsheets: an apostrophe before each text that begins with =, +, -, @ or a tab",
    )


def speedup_option(default: float, command: str) -> Any:
    """The speedup to run at."""
    return option(default, "speedup to run at, from 1 to the dial's end", parse=one_speedup(command))
