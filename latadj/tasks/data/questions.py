"""Questions of an extractive question answering task, from SQuAD JSON or tables, in splits without common contexts."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latadj.config import TaskConfig
from latadj.tasks.data.files import hub_splits, read_hub, require_columns
from latadj.tasks.data.paths import QUESTIONS, data_files, task_files
from latadj.tasks.data.splits import SplitFrames, Splits, refuse_longer

log = logging.getLogger("latadj")
COLUMNS = ("id", "title", "context", "question", "texts", "starts")
_HUB = ("id", "context", "question", "answers")
# Articles from which on a split by article is even enough; of fewer, contexts are split.
MANY = 20


def read_questions(path: Path, *, no_answer: bool) -> pd.DataFrame:
    """Questions of one file: SQuAD's JSON, or JSONL or Parquet with the hub's columns.

    Returns
    -------
    table of a row a question: ``id``, ``title``, ``context``, ``question``, ``texts`` (its answers, a list of str, none
    where it has no answer) and ``starts`` (characters of the context before each answer; -1 where it is not in there)

    Raises
    ------
    ValueError
        if the file is missing or damaged, an id stands there twice, or a question has no answer and ``no_answer`` is
        not set; one line that says where.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix.lower() not in QUESTIONS:
        raise ValueError(f"{path}: expected a file that ends in {', '.join(QUESTIONS)}")
    if path.suffix.lower() == ".json":
        return checked(pd.DataFrame(_official(path), columns=list(COLUMNS)), str(path), no_answer=no_answer)
    lines = path.suffix.lower() == ".jsonl"
    try:
        frame = pd.read_json(path, lines=True, dtype=False, encoding="utf-8-sig") if lines else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # UnicodeDecodeError and ArrowInvalid are ValueErrors
        raise ValueError(f"{path}: cannot be read as {path.suffix[1:]}: {_first_line(error)}") from error
    return from_hub(frame, str(path), no_answer=no_answer)


def from_hub(frame: pd.DataFrame, where: str, *, no_answer: bool) -> pd.DataFrame:
    """Questions of a table with the columns that SQuAD has on the hub; ``answers`` holds ``text`` and ``answer_start``.

    Parameters
    ----------
    where : what the table is called in a message

    Returns
    -------
    as :func:`read_questions`; raises as it does
    """
    require_columns(frame, _HUB, where)
    titles = frame["title"] if "title" in frame else [""] * len(frame)
    rows = []
    records = zip(frame["id"], titles, frame["context"], frame["question"], frame["answers"], strict=True)
    for number, (name, title, context, question, answers) in enumerate(records, start=1):
        if not isinstance(answers, dict) or not {"text", "answer_start"} <= set(answers):
            raise ValueError(f"{where}: row {number}: expected answers with 'text' and 'answer_start'")
        texts, starts = list(answers["text"]), list(answers["answer_start"])
        if len(texts) != len(starts):
            raise ValueError(f"{where}: row {number} has {len(texts)} answers and {len(starts)} starts")
        rows.append(_row(f"{where}: row {number}", name, title, context, question, texts, starts))
    return checked(pd.DataFrame(rows, columns=list(COLUMNS)), where, no_answer=no_answer)


def checked(frame: pd.DataFrame, where: str, *, no_answer: bool) -> pd.DataFrame:
    """The table with every answer at its place; those that stand elsewhere are counted and looked for.

    Raises
    ------
    ValueError
        if there is no question, an id stands there twice, or an answer is missing where each question has one.
    """
    if frame.empty:
        raise ValueError(f"{where}: there is no question in it")
    refuse_twice({where: frame})
    if not no_answer:
        without = frame.loc[frame["texts"].map(len) == 0, "id"]
        if len(without):
            raise ValueError(
                f"{where}: of {len(frame)} questions {len(without)} have no answer, {without.iloc[0]!r} the first: "
                "take task=squad_v2, in which a question may have none"
            )
    moved = lost = 0
    places = []
    for context, texts, starts in zip(frame["context"], frame["texts"], frame["starts"], strict=True):
        actual = [answer_start(context, text, start) for text, start in zip(texts, starts, strict=True)]
        moved += sum(place not in (-1, start) for place, start in zip(actual, starts, strict=True))
        lost += actual.count(-1)
        places.append(actual)
    if moved or lost:
        log.warning(
            "%s: %d of %d answers do not stand at their start: %d found elsewhere in the context, %d nowhere in it "
            "(these are scored, but not learnt)",
            where,
            moved + lost,
            frame["texts"].map(len).sum(),
            moved,
            lost,
        )
    return frame.assign(starts=pd.Series(places, index=frame.index, dtype=object))


def answer_start(context: str, text: str, start: int) -> int:
    """Where an answer begins: at its start, else at the place nearest to it; -1 if nowhere, or if it is empty."""
    if not text:
        return -1
    if start >= 0 and context.startswith(text, start):
        return start
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", context)]
    return min(places, key=lambda place: abs(place - start), default=-1)


def refuse_twice(frames: dict[str, pd.DataFrame]) -> None:
    """Refuse tables, by what they are called, in which a question's id stands twice.

    Raises
    ------
    ValueError
    """
    ids = pd.concat([frame["id"] for frame in frames.values()], ignore_index=True)
    twice = ids[ids.duplicated()]
    if len(twice):
        name = twice.iloc[0]
        where = " and ".join(place for place, frame in frames.items() if (frame["id"] == name).any())
        raise ValueError(
            f"{where}: question id {name!r} stands there twice ({twice.nunique()} ids do): predictions are written "
            "by id, so each needs its own"
        )


def _official(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of SQuAD's JSON: articles of ``data``, their paragraphs, and the questions on each."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path}: cannot be read as JSON: {_first_line(error)}") from error
    for a, article in enumerate(_list(document, "data", str(path)), start=1):
        for p, paragraph in enumerate(_list(article, "paragraphs", f"{path}: article {a}"), start=1):
            inside = f"{path}: article {a}, paragraph {p}"
            for q, entry in enumerate(_list(paragraph, "qas", inside), start=1):
                where = f"{inside}, question {q}"
                context = _field(paragraph, "context", inside)
                name, question = _field(entry, "id", where), _field(entry, "question", where)
                # Answers that only look right are kept elsewhere, but some files have them here too.
                answers = [] if entry.get("is_impossible") else _list(entry, "answers", where)
                texts = [_field(answer, "text", f"{where}, answer {n}") for n, answer in enumerate(answers, start=1)]
                starts = [_field(answer, "answer_start", f"{where}, answer {n}") for n, answer in enumerate(answers, 1)]
                yield _row(where, name, article.get("title", ""), context, question, texts, starts)


def _row(
    where: str, name: Any, title: Any, context: Any, question: Any, texts: list[Any], starts: list[Any]
) -> dict[str, Any]:
    strings = {"context": context, "question": question, **{f"answer {n}": text for n, text in enumerate(texts, 1)}}
    for field, value in strings.items():
        if not isinstance(value, str):
            raise ValueError(f"{where}: expected text as its {field}, got {value!r}")
    if not context.strip() or not question.strip():
        raise ValueError(f"{where}: its {'question' if context.strip() else 'context'} is empty")
    refuse_longer(len(context), f"{where}: its context", "cut it into several contexts")
    for start in starts:
        if not isinstance(start, (int, np.integer)) or isinstance(start, bool):
            raise ValueError(f"{where}: expected a whole number as answer_start, got {start!r}")
    return {
        "id": str(name),
        "title": str(title),
        "context": context,
        "question": question,
        "texts": texts,
        "starts": [int(start) for start in starts],
    }


def _list(holder: Any, name: str, where: str) -> list[Any]:
    value = _field(holder, name, where)
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list as {name!r}, got {type(value).__name__}")
    return value


def _field(holder: Any, name: str, where: str) -> Any:
    if not isinstance(holder, dict):
        raise ValueError(f"{where}: expected an object with {name!r}, got {type(holder).__name__}: no SQuAD JSON")
    if name not in holder:
        raise ValueError(f"{where}: {name!r} is missing; there are {', '.join(map(str, list(holder)[:12])) or 'none'}")
    return holder[name]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


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
    splits of the columns ``COLUMNS``

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
        return SplitFrames.read(data_files(task.data_files, QUESTIONS), read)
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
        f"task {task.name} names no questions: give a file ({', '.join(QUESTIONS)}) with task.data_files=FILE, or a "
        "folder of the official files with task.data_dir=FOLDER"
    )


def _learnable(train: pd.DataFrame, task: TaskConfig) -> pd.DataFrame:
    """Without the questions whose answers stand nowhere in their contexts: they do not teach that there is none."""
    absent = train["starts"].map(lambda starts: len(starts) > 0 and max(starts) < 0)
    if absent.any():
        log.warning("%s: left out %d training questions, whose answer is not in the context", task.name, absent.sum())
    return train[~absent]
