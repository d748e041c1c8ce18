"""Queries, documents and which of these answer which: in BEIR's files, or cut out of plain texts."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset

from latadj.config import FilesConfig, TaskConfig
from latadj.tasks.data.documents import load_texts
from latadj.tasks.data.files import read_file, require_columns
from latadj.tasks.data.paths import require_folder
from latadj.tasks.data.splits import Splits, take

CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"
# The first word of an answer to another post, which quotes it.
REPLY = "re"
# A text is a document if it has so many times the words of its query.
LEAST = 4


def load_retrieval(task: TaskConfig) -> Splits:
    """A test split of queries and documents: columns ``text``, ``query`` (whether it is one), ``relevant`` and ``own``.

    Queries come first. ``relevant`` are the places, among the documents, of those that answer a query, and how well
    each does, in turn; below 0 where it is not there. ``own`` is the place of the document that is the query itself, or
    -1. There is nothing to train on.

    Raises
    ------
    ValueError
        if files or columns are missing, there is no document or query, or the judgements name none.
    """
    queries, documents = _beir(task) if task.query_words is None else _cut(task)
    chosen = take(queries, task.max_test)
    if not len(chosen) or not len(documents):
        what = "document" if len(chosen) else "query that a document answers"
        raise ValueError(f"task {task.name}: there is no {what}")
    table = {
        "text": [*chosen["text"], *documents],
        "query": [True] * len(chosen) + [False] * len(documents),
        "relevant": [*chosen["relevant"], *([] for _ in documents)],
        "own": [*chosen["own"], *(-1 for _ in documents)],
    }
    nothing = Dataset.from_dict({name: [] for name in table})
    return Splits(nothing, nothing, {"test": Dataset.from_dict(table)})


def _queries(rows: list[tuple[str, list[int], int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["text", "relevant", "own"])


def _cut(task: TaskConfig) -> tuple[pd.DataFrame, list[str]]:
    """The first words of each text of the test split as a query, and the rest as the document that answers it."""
    own = replace(task, type="generation", metric="perplexity", max_test=None, max_train=None)
    pairs = cut_queries(load_texts(own).tests["test"]["text"][:], task)
    queries = [(query, [place, 1], -1) for place, (query, _) in enumerate(pairs)]
    return _queries(queries), [document for _, document in pairs]


def cut_queries(texts: Iterable[str], task: TaskConfig) -> list[tuple[str, str]]:
    """The first ``task.query_words`` of each text, and the rest; short texts and answers to others give none."""
    words = task.query_words or 0
    split = [text.split() for text in texts]
    split = [text for text in split if len(text) >= LEAST * words and text[0].casefold().strip(":") != REPLY]
    return [(" ".join(text[:words]), " ".join(text[words:])) for text in split]


def _beir(task: TaskConfig) -> tuple[pd.DataFrame, list[str]]:
    if not task.data_dir:
        raise ValueError(
            f"task {task.name} names no data: give task.data_dir=FOLDER with {CORPUS}, {QUERIES} and {task.qrels}, or "
            "plain texts with task.query_words=6"
        )
    require_folder(task)
    folder = Path(task.data_dir)
    corpus, queries = (_table(folder / name, task, "jsonl") for name in (CORPUS, QUERIES))
    judged = _table(folder / task.qrels, task, "tsv")
    for frame, names, where in (
        (corpus, ["_id", "text"], CORPUS),
        (queries, ["_id", "text"], QUERIES),
        (judged, ["query-id", "corpus-id", "score"], task.qrels),
    ):
        require_columns(frame, names, str(folder / where))
    grades = pd.to_numeric(judged["score"], errors="coerce")
    if (wrong := grades.isna() | (grades % 1 != 0)).any():
        raise ValueError(f"{folder / task.qrels}: score {judged['score'][wrong].iloc[0]!r}: expected a whole number")
    places = {str(name): place for place, name in enumerate(corpus["_id"])}
    relevant: dict[str, list[int]] = {}
    for query, document, grade in zip(judged["query-id"], judged["corpus-id"], grades.astype(int), strict=True):
        if grade > 0:
            answers = relevant.setdefault(str(query), [])
            # One that is not there is never found, and counts.
            answers += [places.get(str(document), -1 - len(answers)), int(grade)]
    if not any(place >= 0 for answers in relevant.values() for place in answers[::2]):
        raise ValueError(f"{folder / task.qrels}: it names no document of {CORPUS}: do they belong together?")
    titles: Any = corpus["title"].fillna("") if "title" in corpus else [""] * len(corpus)
    documents = [f"{title} {text}".strip() for title, text in zip(titles, corpus["text"].fillna(""), strict=True)]
    asked = queries[queries["text"].notna()]
    rows = [
        (str(text), relevant[str(name)], places.get(str(name), -1))
        for name, text in zip(asked["_id"], asked["text"], strict=True)
        if str(name) in relevant
    ]
    return _queries(rows), documents


def _table(path: Path, task: TaskConfig, form: str) -> pd.DataFrame:
    return read_file(path, FilesConfig(format=form), task)
