"""GLUE's tasks as papers and its server know them: columns, the average, test examples, and files of a submission."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from latadj.config import FilesConfig, TaskConfig
from latadj.tasks.data.files import read_file, read_hub, require_columns


@dataclass(frozen=True)
class Part:
    """One file of a submission.

    file : its name in the zip, without ``.tsv``
    names : the official test file; the first of these that is there
    split : of the hub's data set
    columns : the text columns of the official file, in the task's order
    hub_name : the hub's name of the data set, where it is not the task's
    """

    file: str
    names: tuple[str, ...]
    split: str
    columns: tuple[str, ...]
    hub_name: str | None = None


@dataclass(frozen=True)
class GlueTask:
    """A column of GLUE's table.

    folder : of the official files
    column : its heading
    scores : names of a score or two; one with a split's number takes that split's
    parts : what the server wants predictions for
    named : whether the server wants names of classes there, not numbers
    counted : whether the average counts it
    """

    folder: str
    column: str
    scores: tuple[tuple[int, str], ...]
    parts: tuple[Part, ...]
    named: bool = False
    counted: bool = True


def _single(file: str, *columns: str, names: tuple[str, ...] = ("test.tsv",)) -> tuple[Part, ...]:
    return (Part(file, names, "test", columns),)


_NLI = ("sentence1", "sentence2")
# In the order of GLUE's own table.
GLUE: dict[str, GlueTask] = {
    "cola": GlueTask("CoLA", "CoLA", ((0, "matthews_correlation"),), _single("CoLA", "sentence")),
    "sst2": GlueTask("SST-2", "SST-2", ((0, "accuracy"),), _single("SST-2", "sentence")),
    "mrpc": GlueTask(
        "MRPC",
        "MRPC",
        ((0, "f1"), (0, "accuracy")),
        _single("MRPC", "#1 String", "#2 String", names=("test.tsv", "msr_paraphrase_test.txt")),
    ),
    "stsb": GlueTask("STS-B", "STS-B", ((0, "pearson"), (0, "spearman")), _single("STS-B", *_NLI)),
    "qqp": GlueTask("QQP", "QQP", ((0, "f1"), (0, "accuracy")), _single("QQP", "question1", "question2")),
    "mnli": GlueTask(
        "MNLI",
        "MNLI-(m/mm)",
        ((0, "accuracy"), (1, "accuracy")),
        (
            Part("MNLI-m", ("test_matched.tsv",), "test_matched", _NLI),
            Part("MNLI-mm", ("test_mismatched.tsv",), "test_mismatched", _NLI),
            Part("AX", ("diagnostic.tsv", "../diagnostic/diagnostic.tsv"), "test", _NLI, "ax"),
        ),
        named=True,
    ),
    "qnli": GlueTask("QNLI", "QNLI", ((0, "accuracy"),), _single("QNLI", "question", "sentence"), named=True),
    "rte": GlueTask("RTE", "RTE", ((0, "accuracy"),), _single("RTE", *_NLI), named=True),
    "wnli": GlueTask("WNLI", "WNLI", ((0, "accuracy"),), _single("WNLI", *_NLI), counted=False),
}
# What a submission holds.
FILES = tuple(f"{part.file}.tsv" for task in GLUE.values() for part in task.parts)
HUB = "nyu-mll/glue"
LOW, HIGH = 0.0, 5.0  # of STS-B


def in_order(tasks: list[str]) -> list[str]:
    """GLUE's tasks of a list, in the order of its table."""
    return [name for name in GLUE if name in tasks]


def scores_of(name: str, scores: dict[str, dict[str, float]]) -> list[float]:
    """The score or two that GLUE prints of a task.

    Parameters
    ----------
    scores : split -> metric -> value; a split that was left out has none
    """
    splits = list(scores.values())
    return [splits[split][metric] for split, metric in GLUE[name].scores if split < len(splits)]


def average(scores: dict[str, list[float]]) -> float | None:
    """GLUE's average: each task counts once, with the mean of its scores; None where no counted task is there.

    Parameters
    ----------
    scores : task -> its scores
    """
    means = [sum(values) / len(values) for name, values in scores.items() if GLUE[name].counted]
    return sum(means) / len(means) if means else None


def submission_text(name: str, index: list[int], predictions: list[float], labels: list[str]) -> str:
    """A file as GLUE's server takes it: a header, and a line for each example.

    Parameters
    ----------
    predictions : class numbers, or values of a regression, which are brought into 0 to 5
    labels : names of the classes
    """
    task = GLUE[name]
    lines = ["index\tprediction"]
    for number, prediction in zip(index, predictions, strict=True):
        if not labels:
            shown = f"{min(max(prediction, LOW), HIGH):.3f}"
        else:
            shown = labels[int(prediction)] if task.named else str(int(prediction))
        lines.append(f"{number}\t{shown}")
    return "\n".join(lines) + "\n"


def official_file(task: TaskConfig, part: Part) -> Path | None:
    """The official test file of a part in ``task.data_dir``; None if it is not there."""
    if not task.data_dir:
        return None
    return next((path for name in part.names if (path := Path(task.data_dir) / name).is_file()), None)


def read_test(task: TaskConfig, part: Part) -> pd.DataFrame | None:
    """The unlabelled examples of a part: ``task.text`` and ``index``, the server's number of each.

    Returns
    -------
    None where they are not on hand

    Raises
    ------
    ValueError
        if the file or the hub's data set is there and cannot be read.
    """
    if task.data_dir:
        path = official_file(task, part)
        if path is None:
            return None
        frame = read_file(path, FilesConfig(format="tsv"), task)
        columns = dict(zip(part.columns, task.text, strict=True))
        require_columns(frame, columns, str(path))
        number = next((column for column in ("index", "id") if column in frame.columns), None)
        index = range(len(frame)) if number is None else frame[number].astype(int)
        texts = frame[list(columns)].rename(columns=columns)
    else:
        if task.hub is None:
            return None
        source = replace(task.hub, name=part.hub_name or task.hub.name)
        frame = read_hub(source, [part.split], [*task.text, "idx"])[part.split]
        texts, index = frame[task.text], frame["idx"].astype(int)
    texts = texts.fillna("").astype(str).apply(lambda column: column.str.strip())
    return texts.assign(index=list(index))
