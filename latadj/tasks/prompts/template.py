"""The text of a prompt: templates whose fields are filled from a task and its examples."""

from collections.abc import Mapping
from string import Formatter

from latadj.config import PromptConfig, TaskConfig

ABOUT_TASK = ("description", "answer", "label_words")


def label_words(task: TaskConfig) -> list[str]:
    """The words that stand for a task's labels."""
    return list(task.label_words or task.labels or [])


def example_fields(task: TaskConfig) -> tuple[str, ...]:
    """Fields that an example fills: its text columns, and ``input``, all of them as the task shows them."""
    return (*task.text, "input")


def problems(prompt: PromptConfig, task: TaskConfig) -> list[str]:
    """What is wrong with a prompt for a task, one line each; labels yet to be found in data are passed over."""
    if task.type != "classification" and not task.scores_continuations:
        return [f"prompt={prompt.name}: a prompt asks for the class of a text; task={task.name} is of kind {task.type}"]
    if task.type != "classification" or task.labels == []:
        return [f"prompt={prompt.name}: task={task.name} has no labels to answer with; take a classification task"]
    found = []
    if task.label_words and task.labels and len(set(task.label_words)) != len(task.labels):
        found.append(
            f"task.label_words={task.label_words}: expected {len(task.labels)} different words, one for each of "
            f"{task.labels}"
        )
    example = example_fields(task)
    templates = {
        "prompt.instruction": (prompt.instruction, ABOUT_TASK),
        "prompt.shot": (prompt.shot, (*example, *ABOUT_TASK, "label")),
        "prompt.query": (prompt.query, (*example, *ABOUT_TASK)),
        "task.input": (_input(task), tuple(task.text)),
    }
    for key, (template, possible) in templates.items():
        try:
            fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        except ValueError as error:
            found.append(f"{key}: not a template ({error}); write {{{{ and }}}} for braces that are text")
            continue
        unknown = sorted(fields - set(possible))
        if unknown:
            shown = ", ".join(f"{{{name}}}" for name in unknown)
            there = ", ".join(f"{{{name}}}" for name in possible)
            found.append(f"{key}: unknown field {shown}; there are {there}")
        elif key in ("prompt.query", "task.input") and not fields & set(example):
            found.append(f"{key}: shows nothing of the example; use {{{'}, {'.join(name for name in example)}}}")
        elif key == "prompt.shot" and prompt.shots > 0 and "label" not in fields:
            found.append(f"prompt.shot: needs the field {{label}} for prompt.shots={prompt.shots}")
    found += [
        f"prompt.{key}={getattr(prompt, key)}: expected at least 0"
        for key in ("shots", "calibrate")
        if getattr(prompt, key) < 0
    ]
    return found


def fill(template: str, task: TaskConfig, example: Mapping[str, str] | None = None, label: int | None = None) -> str:
    """A template with its fields filled.

    Parameters
    ----------
    example : text columns; None in an instruction
    label : class number, for the field ``label``
    """
    words = label_words(task)
    values = {
        "description": task.description,
        "answer": task.answer,
        "label_words": " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}",
    }
    if example is not None:
        columns = {name: example[name] for name in task.text}
        values |= {**columns, "input": _input(task).format_map(columns)}
    if label is not None:
        values["label"] = words[label]
    return template.format_map(values)


def _input(task: TaskConfig) -> str:
    """The template of how an example is shown."""
    return task.input or "\n".join(f"{name.capitalize()}: {{{name}}}" for name in task.text)
