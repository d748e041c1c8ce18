"""What a task asks of a model, one class for each type of task."""

from latadj.config import TaskConfig
from latadj.tasks.types.base import TaskType
from latadj.tasks.types.classification import Classification
from latadj.tasks.types.embedding import Embedding
from latadj.tasks.types.mteb import Mteb
from latadj.tasks.types.question_answering import QuestionAnswering
from latadj.tasks.types.reranking import Reranking
from latadj.tasks.types.retrieval import Retrieval
from latadj.tasks.types.text import RunningText
from latadj.tasks.types.token_classification import TokenClassification

__all__ = ["TASK_CLASSES", "TaskType", "task_type_of"]

TASK_CLASSES: dict[str, type[TaskType]] = {
    task_type.name: task_type
    for task_type in (
        *(Classification, TokenClassification, QuestionAnswering, RunningText),
        *(Embedding, Retrieval, Mteb, Reranking),
    )
}


def task_type_of(task: TaskConfig) -> TaskType:
    """What a task asks of a model."""
    return TASK_CLASSES[task.type](task)
