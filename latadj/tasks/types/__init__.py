"""What a task asks of a model with a head, one class for each kind of task."""

from collections.abc import Sequence

from latadj.config import TaskConfig
from latadj.tasks.data.splits import Splits
from latadj.tasks.types.base import TaskType
from latadj.tasks.types.classification import Classification
from latadj.tasks.types.question_answering import QuestionAnswering
from latadj.tasks.types.text import RunningText
from latadj.tasks.types.token_classification import TokenClassification

__all__ = ["TASK_CLASSES", "TaskType", "load_splits", "task_type_of"]

TASK_CLASSES: dict[str, type[TaskType]] = {
    task_type.name: task_type for task_type in (Classification, TokenClassification, QuestionAnswering, RunningText)
}


def task_type_of(task: TaskConfig) -> TaskType:
    """What a task asks of a model."""
    return TASK_CLASSES[task.type](task)


def load_splits(task: TaskConfig, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
    """Examples of any task, from ``task.data_files``, ``task.data_dir``, an installed package or the hub.

    Parameters
    ----------
    known : the labels that a checkpoint was made for; they count where the task leaves its labels to the data
    train : whether training examples are needed; else a file of tests is enough

    Returns
    -------
    splits, with the labels that their examples have

    Raises
    ------
    ValueError
        if they cannot be had, or are not what the task says.
    """
    return task_type_of(task).load(known, train=train)
