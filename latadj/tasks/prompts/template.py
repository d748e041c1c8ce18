"""The text of a prompt: templates whose fields are filled from a task and its examples."""

from collections.abc import Mapping

from latadj.config import TaskConfig


def label_words(task: TaskConfig) -> list[str]:
    """The words that stand for a task's labels."""
    return list(task.label_words or task.labels or [])


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
        values |= {**columns, "input": task.input_template().format_map(columns)}
    if label is not None:
        values["label"] = words[label]
    return template.format_map(values)
