"""Labels of a task's examples: cleaned, found where the task does not name them, and turned into class numbers."""

import logging
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from latadj.config import TaskConfig
from latadj.tasks.data.files import require_columns

log = logging.getLogger("latadj")
MOST_CLASSES = 1000
MOST_DECIMALS = 20  # different values of a column with decimals that may still be classes, such as half stars
SHOWN = 5
NO_LABEL = ("", "-", "nan", "None")  # STS-B and MNLI have a few


def clean(frame: pd.DataFrame, task: TaskConfig, split: str) -> pd.DataFrame:
    """Texts and labels, stripped; rows without a label are left out, of one's own data those without text too.

    Parameters
    ----------
    frame : columns ``task.text`` and ``label``
    split : what the rows are called in messages

    Raises
    ------
    ValueError
        if a text or a label is a list or the like.
    """
    require_columns(frame, task.text, f"task.text={task.text}: the {split} examples of task {task.name}")
    frame = frame[[*task.text, "label"]].copy()
    for column in frame:
        if frame[column].map(lambda value: isinstance(value, (list, tuple, dict, np.ndarray))).any():
            raise ValueError(_nested(str(column), task, split))
    missing = frame["label"].isna()
    for column in task.text:
        frame[column] = frame[column].fillna("").astype(str).str.strip()
    frame["label"] = _plain(frame["label"].map(str))
    named = set(_plain(pd.Series(task.labels or [], dtype=str)))
    # A class may well be called "None" or "-", which only the task knows.
    missing |= frame["label"].isin([""] if task.labels is None else [name for name in NO_LABEL if name not in named])
    frame = _without(frame, missing, "a label", task, split)
    if task.data_files is None and task.labels is not None:
        return frame  # an official split keeps its size
    empty = (frame[list(task.text)] == "").all(axis=1)
    return _without(frame, empty, "text", task, split)


def _plain(labels: pd.Series) -> pd.Series:
    """Labels stripped, whole numbers without the decimals that a missing value elsewhere in the column gave them."""
    return labels.str.strip().str.replace(r"^(-?\d+)\.0+$", r"\1", regex=True)


def _without(frame: pd.DataFrame, out: pd.Series, what: str, task: TaskConfig, split: str) -> pd.DataFrame:
    if not out.any():
        return frame
    log.warning("%s: left out %d of %d %s examples without %s", task.name, int(out.sum()), len(frame), split, what)
    return frame[~out]


def _nested(column: str, task: TaskConfig, split: str) -> str:
    if column != "label":
        return f"task.text={column}: a cell of the {split} examples holds a list or an object, expected text"
    return (
        f"task.label={task.label}: a cell of the {split} examples holds a list or an object; several labels for one "
        "text (multi-label) are not supported, give each example one"
    )


def found_labels(train: pd.DataFrame, task: TaskConfig) -> list[str]:
    """The labels in training data: numbers by their value, others in natural order, ``class10`` after ``class9``.

    Raises
    ------
    ValueError
        if the column does not look like one of classes.
    """
    counts = train["label"].value_counts()
    names = [str(name) for name in counts.index]
    numbers = pd.to_numeric(pd.Series(names), errors="coerce")
    numeric = len(names) > 0 and bool(np.isfinite(numbers).all())
    regression = "; to predict a number take task=text_regression" if numeric else ""
    column = f"task.label={task.label}"
    other = f"name another column, or the classes with task.labels=[...]{regression}"
    if numeric and len(names) > MOST_DECIMALS and not (numbers % 1 == 0).all():
        raise ValueError(f"{column}: its {len(names)} different numbers with decimals are hardly classes: {other}")
    if len(names) > MOST_CLASSES:
        raise ValueError(f"{column}: it has {len(names)} different values, hardly classes: {other}")
    if len(names) > 2 and counts.max() == 1:
        raise ValueError(f"{column}: each of its {len(names)} values stands in one example only: {other}")
    single = [str(name) for name, count in counts.items() if count == 1]
    if single:
        log.warning("%s: only one example has %s", task.name, _shown(sorted(single, key=_natural), "label"))
    if numeric:
        return [names[place] for place in np.argsort(numbers.to_numpy(), kind="stable")]
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold()) for part in parts], name


def _shown(names: Sequence[str], what: str) -> str:
    """Some of the names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"the {what}{'s' if len(names) > 1 else ''} {', '.join(map(repr, names[:SHOWN]))}{more}"


def numbered(frame: pd.DataFrame, task: TaskConfig, labels: Sequence[str], split: str) -> pd.DataFrame:
    """Labels as class numbers (int), or values (float) of a regression.

    Parameters
    ----------
    labels : names of the classes; of a task that names its own, class numbers may stand for them

    Raises
    ------
    ValueError
        if a label is not one of them, or no number.
    """
    if not labels:
        values = pd.to_numeric(frame["label"], errors="coerce")
        values = values.where(np.isfinite(values))
        wrong = frame["label"][values.isna()]
        if not wrong.empty:
            raise ValueError(
                f"task {task.name}: label {wrong.iloc[0]!r} in its {split} examples: expected a number "
                "(classes are for task=text_classification)"
            )
        return frame.assign(label=values.astype(float))
    names = {name: number for number, name in enumerate(_plain(pd.Series(list(labels), dtype=str)))}
    by_number = task.labels is not None and not any(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in names)
    if by_number:
        names = {str(number): number for number in range(len(labels))} | names
    numbers = frame["label"].map(names)
    wrong = frame["label"][numbers.isna()]
    if wrong.empty:
        return frame.assign(label=numbers.astype(int))
    if task.labels is None:
        raise ValueError(_unseen(wrong, task, labels, split))
    expected = f"one of {', '.join(labels)}" + (f" or 0 to {len(labels) - 1}" if by_number else "")
    raise ValueError(f"task {task.name}: label {wrong.iloc[0]!r} in its {split} examples: expected {expected}")


def _unseen(wrong: pd.Series, task: TaskConfig, labels: Sequence[str], split: str) -> str:
    strange = sorted(wrong.unique(), key=_natural)
    return (
        f"task {task.name}: {len(wrong)} {split} examples have {_shown(strange, 'label')}, which training never had "
        f"(it had {_shown(labels, 'label')}): leave these out, mend task.label={task.label}, or train with some of them"
    )


def report_gaps(train: pd.DataFrame, tests: dict[str, pd.DataFrame], labels: Sequence[str], task: TaskConfig) -> None:
    """Warn of classes without examples, and of texts that stand in training and in a test."""
    for split, frame in {"training": train, **tests}.items():
        there = set(frame["label"])
        missing = [name for number, name in enumerate(labels) if number not in there]
        if missing:
            log.warning("%s: no %s example has %s", task.name, split, _shown(missing, "label"))
    seen = set(train[list(task.text)].itertuples(index=False, name=None))
    for split, frame in tests.items():
        known = sum(row in seen for row in frame[list(task.text)].itertuples(index=False, name=None))
        if known:
            log.warning(
                "%s: %d of %d %s texts stand in training too: the metric flatters", task.name, known, len(frame), split
            )
