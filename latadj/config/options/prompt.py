"""How a language model is asked for a class: templates whose fields are filled from a task and its examples."""

from dataclasses import dataclass
from string import Formatter

from omegaconf import MISSING

from latadj.config.fields import Section, at_least, option
from latadj.config.options.task import TaskConfig

ABOUT_TASK = ("description", "answer", "label_words")


@dataclass
class PromptConfig(Section):
    """What a language model is asked, and how.

    Templates have the fields ``{description}``, ``{answer}`` and ``{label_words}`` of the task, and, where they show an
    example, its text columns and ``{input}``, all of them as ``task.input`` shows them.
    """

    name: str = option(MISSING, "name of the prompt")
    instruction: str = option("", "template of what comes first: {description}, {answer}, {label_words}")
    shot: str = option("", "template of each training example that is shown: those, {input}, text columns, {label}")
    query: str = option(MISSING, "template of the example that is asked about: the same without {label}")
    shots: int = option(0, "training examples that are shown, the same for every query", at_least(0))
    calibrate: int = option(
        0, "training examples whose mean score is subtracted from each label word's; 0: none", at_least(0)
    )

    def problems_for(self, task: TaskConfig) -> list[str]:
        """What is wrong with it for a task, one line each; labels yet to be found in data are passed over."""
        if task.type != "classification" and not task.scores_continuations:
            return [
                f"prompt={self.name}: a prompt asks for the class of a text; task={task.name} is of type {task.type}"
            ]
        if task.type != "classification" or task.labels == []:
            return [f"prompt={self.name}: task={task.name} has no labels to answer with; take a classification task"]
        problems = []
        if task.label_words and task.labels and len(set(task.label_words)) != len(task.labels):
            problems.append(
                f"task.label_words={task.label_words}: expected {len(task.labels)} different words, one for each of "
                f"{task.labels}"
            )
        example = task.example_fields()
        templates = {
            "prompt.instruction": (self.instruction, ABOUT_TASK),
            "prompt.shot": (self.shot, (*example, *ABOUT_TASK, "label")),
            "prompt.query": (self.query, (*example, *ABOUT_TASK)),
            "task.input": (task.input_template(), tuple(task.text)),
        }
        for key, (template, possible) in templates.items():
            try:
                used = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
            except ValueError as error:
                problems.append(f"{key}: not a template ({error}); write {{{{ and }}}} for braces that are text")
                continue
            unknown = sorted(used - set(possible))
            if unknown:
                problems.append(f"{key}: unknown field {_braced(unknown)}; there are {_braced(possible)}")
            elif key in ("prompt.query", "task.input") and not used & set(example):
                problems.append(f"{key}: shows nothing of the example; use {_braced(example)}")
            elif key == "prompt.shot" and self.shots > 0 and "label" not in used:
                problems.append(f"prompt.shot: needs the field {{label}} for prompt.shots={self.shots}")
        return problems


def _braced(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
