"""Questions of an extractive question answering task, in three splits without common contexts."""

import logging
from pathlib import Path

import pandas as pd

from latadj.config import TaskConfig
from latadj.tasks.data.files import data_files
from latadj.tasks.data.sources import hub_splits, read_hub, task_files
from latadj.tasks.data.split_frames import SplitFrames
from latadj.tasks.data.splits import Splits
from latadj.tasks.data.squad_files import SUFFIXES, from_hub, read_questions, refuse_twice

log = logging.getLogger("latadj")
# Articles from which on a split by article is even enough; of fewer, contexts are split.
MANY = 20


def load_questions(task: TaskConfig, *, no_answer: bool, train: bool = True, validation: bool = True) -> Splits:
    """Questions of a task, from ``task.data_files``, ``task.data_dir`` or the hub.

    What has no file of its own is cut out of training, whole articles (or, of a few articles, whole contexts) at a
    time, so that no split knows another's contexts.

    Parameters
    ----------
    no_answer : whether a question may have none
    train, validation : whether questions of these splits are needed; else a file of tests is enough

    Returns
    -------
    splits of the columns ``squad_files.COLUMNS``

    Raises
    ------
    ValueError
        if files are missing or damaged, an id stands in them twice, or a split is empty.
    """
    frames = _read(task, no_answer)
    refuse_twice(frames.named())
    if frames.train is None:
        if train:
            raise ValueError(
                f"task {task.name}: it has no training questions; give some with "
                "'task.data_files={train:FILE,test:FILE}'"
            )
        if validation and frames.validation is None:
            raise ValueError(
                f"task {task.name}: it has no validation questions to find a threshold of no answer on: give some with "
                "'task.data_files={validation:FILE,test:FILE}', or task.null_threshold=NUMBER"
            )
    frames = frames.completed(task, lambda frame: frame["title" if frame["title"].nunique() >= MANY else "context"])
    if frames.train is not None:
        frames.train = _learnable(frames.train, task)
    frames = frames.limited(task)
    frames.refuse_empty(task)
    return frames.splits([])


def _read(task: TaskConfig, no_answer: bool) -> SplitFrames:
    def read(path: Path) -> pd.DataFrame:
        return read_questions(path, no_answer=no_answer)

    if task.data_files is not None:
        return SplitFrames.read(data_files(task.data_files, SUFFIXES), read)
    if task.files is not None and (task.data_dir or task.hub is None):
        return SplitFrames.read(task_files(task, task.files), read)
    if task.hub is not None:
        source = task.hub
        tables = read_hub(source, hub_splits(source), ["id", "context", "question", "answers"], optional=["title"])
        frames = {
            split: from_hub(table, f"data set {source.path!r}, {split}", no_answer=no_answer)
            for split, table in tables.items()
        }
        return SplitFrames.of_hub(source, frames)
    raise ValueError(
        f"task {task.name} names no questions: give a file ({', '.join(SUFFIXES)}) with task.data_files=FILE, or a "
        "folder of the official files with task.data_dir=FOLDER"
    )


def _learnable(train: pd.DataFrame, task: TaskConfig) -> pd.DataFrame:
    """Without the questions whose answers stand nowhere in their contexts: they do not teach that there is none."""
    absent = train["starts"].map(lambda starts: len(starts) > 0 and max(starts) < 0)
    if absent.any():
        log.warning("%s: left out %d training questions, whose answer is not in the context", task.name, absent.sum())
    return train[~absent]
