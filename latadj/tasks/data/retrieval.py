"""Queries, documents and which of these answer which: in BEIR's files, or cut out of plain texts."""

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
    """A test split of queries and documents: columns ``text``, ``query`` (whether it is one) and ``relevant``.

    ``relevant`` are the places, among the documents, of those that answer a query, and how well each does, in turn;
    queries come first. There is nothing to train on.

    Raises
    ------
    ValueError
        if files or columns are missing, there is no document or query, or the judgements name none.
    """
    if task.query_words is not None:
        queries, documents, relevant = _cut(task, task.query_words)
    else:
        queries, documents, relevant = _beir(task)
    chosen = take(pd.DataFrame({"text": queries, "relevant": relevant}), task.max_test)
    if not len(chosen) or not len(documents):
        what = "document" if len(chosen) else "query that a document answers"
        raise ValueError(f"task {task.name}: there is no {what}")
    table = {
        "text": [*chosen["text"], *documents],
        "query": [True] * len(chosen) + [False] * len(documents),
        "relevant": [*chosen["relevant"], *([] for _ in documents)],
    }
    nothing = Dataset.from_dict({"text": [], "query": [], "relevant": []})
    return Splits(nothing, nothing, {"test": Dataset.from_dict(table)})


def _cut(task: TaskConfig, words: int) -> tuple[list[str], list[str], list[list[int]]]:
    """The first words of each text of the test split as a query, and the rest as the document that answers it."""
    own = replace(task, type="generation", metric="perplexity", max_test=None, max_train=None)
    texts = [text.split() for text in load_texts(own).tests["test"]["text"][:]]
    texts = [text for text in texts if len(text) >= LEAST * words and text[0].casefold().strip(":") != REPLY]
    return (
        [" ".join(text[:words]) for text in texts],
        [" ".join(text[words:]) for text in texts],
        [[place, 1] for place in range(len(texts))],
    )


def _beir(task: TaskConfig) -> tuple[list[str], list[str], list[list[int]]]:
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
    places = {str(name): place for place, name in enumerate(corpus["_id"])}
    grades = pd.to_numeric(judged["score"], errors="coerce")
    if grades.isna().any() or (grades % 1 != 0).any():
        strange = judged["score"][grades.isna() | (grades % 1 != 0)].iloc[0]
        raise ValueError(f"{folder / task.qrels}: score {strange!r}: expected a whole number")
    relevant: dict[str, list[int]] = {}
    for query, document, grade in zip(judged["query-id"], judged["corpus-id"], grades.astype(int), strict=True):
        if grade > 0 and str(document) in places:
            relevant.setdefault(str(query), []).extend((places[str(document)], int(grade)))
    if not relevant:
        raise ValueError(f"{folder / task.qrels}: it names no document of {CORPUS}: do they belong together?")
    titles: Any = corpus["title"].fillna("") if "title" in corpus else [""] * len(corpus)
    documents = [f"{title} {text}".strip() for title, text in zip(titles, corpus["text"].fillna(""), strict=True)]
    asked = [
        (str(text), relevant[str(name)])
        for name, text in zip(queries["_id"], queries["text"], strict=True)
        if str(name) in relevant
    ]
    return [text for text, _ in asked], documents, [answers for _, answers in asked]


def _table(path: Path, task: TaskConfig, form: str) -> pd.DataFrame:
    return read_file(path, FilesConfig(format=form), task)
