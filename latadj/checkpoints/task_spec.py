"""What a model is for: the part of its task that serving needs, as ``latadj.json`` holds it.

Imports neither torch nor transformers.
"""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated

from latadj.config import TaskConfig
from latadj.config.options.task import EMBEDDING, HEAD_OF, NO_ANSWER, TASK_TYPES
from latadj.utils.files import read_json
from latadj.utils.serialization import Bounds, Entries

# Endings of the names of transformers' classes that have the head of a type of task.
HEAD_ENDINGS = {
    "classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
}
QUESTION_COLUMNS = ["question", "context"]
# The file in which sentence-transformers names a model's modules.
MODULES = "modules.json"


@dataclass
class QuestionSpec:
    """How a model for question answering reads contexts; all as in ``latadj.config.TaskConfig``."""

    doc_stride: Annotated[int, Bounds(0, 2**30)]
    max_query_length: Annotated[int, Bounds(1, 2**30)]
    max_answer_length: Annotated[int, Bounds(1, 2**30)]
    n_best: Annotated[int, Bounds(1, 2**20)]
    null_threshold: float | None = None

    @classmethod
    def of(cls, task: TaskConfig) -> "QuestionSpec":
        """That of a task's config."""
        return cls(**{part.name: getattr(task, part.name) for part in fields(cls)})

    @classmethod
    def within(cls, max_length: int) -> "QuestionSpec":
        """A task's defaults, as far as they fit windows of so many tokens: for a model of which nobody says it."""
        spec, quarter = cls.of(TaskConfig(name="", text=QUESTION_COLUMNS)), max(max_length // 4, 1)
        spec.doc_stride, spec.max_query_length = min(spec.doc_stride, quarter), min(spec.max_query_length, quarter)
        return spec


@dataclass
class TaskSpec:
    """What a model is for: the part of its task that serving needs, so that the task need not be named again.

    type, text, labels, metric, max_length, batch_size : as in ``latadj.config.TaskConfig``
    questions : how contexts are read; None of another type, or if latadj does not know
    """

    type: str
    text: Annotated[list[str], Entries(64)]
    labels: Annotated[list[str], Entries(2**20)]
    metric: str
    max_length: Annotated[int, Bounds(1, 2**30)]
    batch_size: Annotated[int, Bounds(1, 2**24)]
    questions: QuestionSpec | None = None

    def __post_init__(self) -> None:
        if self.type not in TASK_TYPES:
            raise ValueError(f"type={self.type}: expected one of {', '.join(TASK_TYPES)}")

    @classmethod
    def of(cls, task: TaskConfig) -> "TaskSpec":
        """The part of a task's config that serving needs."""
        options = {part.name: getattr(task, part.name) for part in fields(cls) if part.name != "questions"}
        questions = QuestionSpec.of(task) if task.type == "question_answering" else None
        return cls(**options | {"labels": list(task.labels or []), "questions": questions})

    def config(self, name: str, *, protect_query: bool = False) -> TaskConfig:
        """The task's config, as far as serving needs it."""
        questions = asdict(self.questions) if self.questions else {}
        options = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "questions"}
        return TaskConfig(name=name, protect_query=protect_query, **options, **questions)


def question_task(
    task_spec: TaskSpec | None, name: str | None, limit: int, *, protect_query: bool, threshold: float | None = None
) -> TaskConfig:
    """The task of a model for question answering, as far as serving needs it.

    Parameters
    ----------
    task_spec : None: of a model that latadj did not make
    limit : tokens of a window
    protect_query : as its dial was made
    threshold : odds of no answer above which none is given, where that is possible; None: the task's, or 0

    Raises
    ------
    ValueError
        if there is a threshold and each question has an answer.
    """
    known = task_spec or TaskSpec("question_answering", QUESTION_COLUMNS, [], "squad_f1", limit, 1)
    spec = replace(known, max_length=limit, questions=known.questions or QuestionSpec.within(limit))
    task = spec.config(name or "", protect_query=protect_query)
    if threshold is not None and task.metric != NO_ANSWER:
        raise ValueError(f"null_threshold={threshold:g}: this model answers each question; leave it out")
    return replace(task, null_threshold=(task.null_threshold or 0.0) if threshold is None else threshold)


def type_of(folder: Path, task_spec: TaskSpec | None) -> str:
    """The type of task that a saved model is for, by what latadj noted or by the name of its class.

    One of sentence-transformers embeds texts, and a reranker is a classifier of pairs, or gives each a number. A model
    that says nothing is taken for a classifier.
    """
    if task_spec is not None:
        return HEAD_OF.get(task_spec.type, task_spec.type)
    if embeds(folder):
        return EMBEDDING
    config = read_json(
        folder / "config.json", "transformers model", "name another with checkpoint=FOLDER", finite=False
    )
    names = (config.get("architectures") if isinstance(config, dict) else None) or []
    for name in names if isinstance(names, list) else []:
        for task_type, ending in HEAD_ENDINGS.items():
            if str(name).endswith(ending):
                return task_type
    return "classification"


def embeds(folder: Path) -> bool:
    """Whether sentence-transformers saved a model that pools tokens to an embedding in a folder.

    Raises
    ------
    ValueError
        if its list of modules is damaged.
    """
    path = folder / MODULES
    if not path.is_file():
        return False
    modules = read_json(path, "list of modules", "save the model with sentence-transformers again")
    return isinstance(modules, list) and any("Pooling" in str(one) for one in modules)
