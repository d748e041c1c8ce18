"""What a task asks of a model with a head, one class for each kind of task."""

from collections.abc import Sequence

from latadj.config import TaskConfig
from latadj.kinds.base import Kind
from latadj.kinds.classification import Classification
from latadj.kinds.question_answering import QuestionAnswering
from latadj.kinds.token_classification import TokenClassification
from latadj.tasks.splits import Splits
from latadj.tasks.texts import load_texts

__all__ = ["KINDS", "Kind", "kind_of", "load_splits"]

# A language model has no such kind: what it foretells is scored as it runs, see `latadj.perplexity`.
KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Classification, TokenClassification, QuestionAnswering)}


def kind_of(task: TaskConfig) -> Kind:
    """The kind of a task that needs a head, or is asked by a prompt."""
    return KINDS[task.kind](task)


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
    return load_texts(task) if task.kind == "generation" else kind_of(task).load(known, train=train)
