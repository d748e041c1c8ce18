"""Queries, each with candidates that answer it more or less well: in rows of the user's, or cut out of plain texts."""

import hashlib
import logging
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latadj.config import FilesConfig, TaskConfig
from latadj.tasks.data.files import hub_splits, read_file, read_hub, require_columns
from latadj.tasks.data.paths import TEXTS, data_files, format_of, task_files
from latadj.tasks.data.retrieval import cut_queries
from latadj.tasks.data.splits import SPLIT_SEED, SplitFrames, Splits

log = logging.getLogger("latadj")
POSITIVE, NEGATIVES, SCORE = "positive", "negatives", "score"
COLUMNS = ["query", "documents", "scores"]


def load_candidates(task: TaskConfig, *, train: bool = True) -> Splits:
    """Queries with their candidates, from ``task.data_files``, ``task.data_dir``, an installed package or the hub.

    Returns
    -------
    splits of columns ``query``, ``documents`` (its candidates) and ``scores`` (how well each answers it, 0 to 1). The
    order of the candidates says nothing. In validation and tests no query has candidates of one score alone.

    Raises
    ------
    ValueError
        if files or columns are missing, a row is not as it should be, or a split is empty.
    """
    frames = _read(task)
    if frames.train is None and (train or not frames.tests):
        raise ValueError(
            f"task {task.name}: it has no training examples; give some with 'task.data_files={{train:FILE,test:FILE}}'"
        )
    if task.query_words is None:
        frames = frames.map(lambda frame, split: _grouped(frame, task, split)).completed(task, lambda one: one["query"])
    else:
        frames = frames.completed(task, lambda frame: frame["text"])
        frames = frames.map(lambda frame, split: _cut(frame, task))
    if frames.train is None:
        frames = SplitFrames(tests=frames.tests)
    else:
        _check_scores(frames.train, task)
    frames = SplitFrames(
        frames.train,
        None if frames.validation is None else _with_something_to_rank(frames.validation, task, "validation"),
        {name: _with_something_to_rank(frame, task, name) for name, frame in frames.tests.items()},
    )
    frames.refuse_empty(task, "; give each its own file with 'task.data_files={train:FILE,validation:FILE,test:FILE}'")
    return frames.limited(task).splits(None)


def _read(task: TaskConfig) -> SplitFrames:
    """The rows of each split, as their source has them."""
    if task.data_files is not None:

        def read(path: Path) -> pd.DataFrame:
            return read_file(path, FilesConfig(format=format_of(path, TEXTS)), task)

        return SplitFrames.read(data_files(task.data_files, TEXTS), read)
    files, source = task.files, task.hub
    if files is not None and (task.data_dir or source is None):
        return SplitFrames.read(task_files(task, files), lambda path: read_file(path, files, task))
    if source is not None:
        document = task.text[1]
        some = [POSITIVE, NEGATIVES, document, SCORE]
        return SplitFrames.of_hub(source, read_hub(source, hub_splits(source), task.text[:1], optional=some))
    raise ValueError(
        f"task {task.name} names no data: give a JSONL file with task.data_files=FILE, whose rows hold {task.text[0]}, "
        f"{POSITIVE} and {NEGATIVES}, or {task.text[0]}, {task.text[1]} and {SCORE}"
    )


def _grouped(frame: pd.DataFrame, task: TaskConfig, split: str) -> pd.DataFrame:
    """A row for each query of a table of triplets, scored pairs or both."""
    where = f"task {task.name}: the {split} examples"
    query, document = task.text
    require_columns(frame, [query], where)
    if POSITIVE not in frame:
        require_columns(frame, [document, SCORE], where, f"; or give {POSITIVE} and {NEGATIVES}")
    scores: dict[str, dict[str, float]] = {}
    for number, row in enumerate(frame.to_dict("records"), start=1):
        own = scores.setdefault(_text(row[query], query, f"{where}: row {number}"), {})
        for text, score in _scored(row, document, f"{where}: row {number}"):
            own[text] = max(score, own.get(text, 0.0))
    return _frame(scores)


def _scored(row: dict[Any, Any], document: str, where: str) -> Iterator[tuple[str, float]]:
    """The documents of one row, with their scores."""
    if not _missing(row.get(POSITIVE)):
        for name, score in ((POSITIVE, 1.0), (NEGATIVES, 0.0)):
            for text in _listed(row.get(name)):
                yield _text(text, name, where), score
        return
    if _missing(row.get(document)):
        raise ValueError(f"{where}: it has neither {POSITIVE} nor {document}")
    try:
        score = float(row.get(SCORE, math.nan))
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 1:
        raise ValueError(
            f"{where}: {SCORE} {row.get(SCORE)!r}: expected a number from 0 to 1; divide grades by the best"
        )
    yield _text(row[document], document, where), score


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _listed(value: Any) -> list[Any]:
    if _missing(value):
        return []
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]


def _text(value: Any, name: str, where: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise ValueError(f"{where}: {name} {str(value)[:40]!r}: expected a text")
    return text


def _frame(scores: dict[str, dict[str, float]]) -> pd.DataFrame:
    """A row for each query, out of the scores of its candidates."""

    # Where a model gives two the same score, their order decides, and must not know which is the better.
    def by_chance(query: str, documents: dict[str, float]) -> list[str]:
        return sorted(documents, key=lambda text: hashlib.sha256(f"{query}\t{text}".encode()).digest())

    rows = []
    for query, documents in scores.items():
        order = by_chance(query, documents)
        rows.append((query, order, [documents[text] for text in order]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _cut(frame: pd.DataFrame, task: TaskConfig) -> pd.DataFrame:
    """The first words of each text as a query, with its rest and, as negatives, the rests of others of its label."""
    assert task.query_words is not None
    require_columns(frame, ["text"], f"task {task.name}: task.query_words={task.query_words}")
    texts = frame["text"].fillna("").astype(str).tolist()
    labels = frame["label"].tolist() if "label" in frame else [None] * len(texts)
    of_label: dict[Any, list[str]] = {}
    scores: dict[str, dict[str, float]] = {}
    label_of = {}
    for text, label in zip(texts, labels, strict=True):
        for query, document in cut_queries([text], task):
            of_label.setdefault(label, []).append(document)
            scores.setdefault(query, {})[document] = 1.0
            label_of[query] = label
    rng = random.Random(SPLIT_SEED)
    for query, own in scores.items():
        others = of_label[label_of[query]]
        drawn = rng.sample(others, min(task.negatives + len(own), len(others)))
        negatives = [text for text in drawn if text not in own][: task.negatives]
        own.update(dict.fromkeys(negatives, 0.0))
    return _frame(scores)


def _with_something_to_rank(frame: pd.DataFrame, task: TaskConfig, split: str) -> pd.DataFrame:
    """The queries whose candidates differ in their scores; of others any order is right."""
    differs = frame["scores"].map(lambda scores: len(set(scores)) > 1).astype(bool)
    if len(frame) and not differs.any():
        raise ValueError(
            f"task {task.name}: there is nothing to rank in its {split} examples: in each of {len(frame)} queries all "
            f"candidates have one score; give {NEGATIVES}, or pairs of other scores"
        )
    if not differs.all():
        out = int((~differs).sum())
        log.warning(
            "%s: left out %d of %d %s queries, whose candidates all have one score", task.name, out, len(frame), split
        )
    return frame[differs]


def _check_scores(train: pd.DataFrame, task: TaskConfig) -> None:
    scores = {score for row in train["scores"] for score in row}
    if len(scores) == 1:
        raise ValueError(
            f"task {task.name}: all training documents have the score {scores.pop():g}; there is nothing to learn: "
            f"give {NEGATIVES}, or pairs of other scores"
        )
