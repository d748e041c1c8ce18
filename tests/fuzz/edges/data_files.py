"""Examples in files of every format, and inputs of `predict`: odd bytes anywhere."""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from fuzz.harness import Edge, replaced
from fuzz.mutations import damaged_bytes, damaged_json
from hypothesis import strategies as st

from latadj.commands.common.session import with_examples
from latadj.config.compose import compose, typed
from latadj.inference.streams.reading import open_reader, windows
from latadj.inference.streams.rows import ColumnOptions

TEXTS = [f"film {number} is {'good' if number % 2 else 'bad'} and long" for number in range(24)]
FRAME = pd.DataFrame({"text": TEXTS, "label": ["neg" if number % 2 else "pos" for number in range(24)]})
DOCUMENTS = "\n\n".join(f"{text} {text}\n{text}" for text in TEXTS).encode()
CONLL = "\n".join("Anna B-PER\nlives O\nin O\nOslo B-LOC\n" for _ in range(12)).encode()
SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": f"film {number}",
            "paragraphs": [
                {
                    "context": TEXTS[number],
                    "qas": [
                        {
                            "id": str(number),
                            "question": "what is it?",
                            "answers": [{"text": "film", "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
        for number in range(12)
    ],
}


def parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


ROWS = [{"text": text, "label": label} for text, label in FRAME.itertuples(index=False)]
TAGGED = [{"tokens": ["Anna", "lives"], "tags": ["B-PER", "O"]} for _ in range(12)]


def lines_of(rows: list[Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def damaged_lines(rows: list[Any]) -> st.SearchStrategy[bytes]:
    """JSON lines, the first of them damaged, or all of their bytes."""
    rest = lines_of(rows[1:])
    return st.one_of(damaged_json(rows[0]).map(lambda line: line + b"\n" + rest), damaged_bytes(lines_of(rows)))


odd_cells = st.one_of(st.none(), st.text(max_size=8), st.integers(-9, 9), st.floats(), st.just([1]), st.just({"a": 1}))


def odd_parquet() -> st.SearchStrategy[bytes]:
    """A column of one odd kind, or odd bytes."""

    def column(case: tuple[str, Any]) -> bytes:
        name, cell = case
        return parquet(FRAME.assign(**{name: [cell] * len(FRAME)}))

    columns = st.tuples(st.sampled_from(["text", "label"]), odd_cells)
    return st.one_of(columns.map(column), damaged_bytes(parquet(FRAME)))


@cache
def config_of(task: str, path: str, *options: str) -> Any:
    return typed("finetune", compose("finetune", [f"task={task}", f"task.data_files='{path}'", *options]))


def examples(task: str, suffix: str) -> Callable[[Path, None, bytes], None]:
    def use(folder: Path, material: None, content: bytes) -> None:
        path = folder / f"data{suffix}"
        replaced(path, content, lambda: with_examples(config_of(task, str(path))))

    return use


def stream(suffix: str) -> Callable[[Path, None, bytes], None]:
    def use(folder: Path, material: None, content: bytes) -> None:
        path = folder / f"input{suffix}"

        def read() -> None:
            reader = open_reader(str(path), None, ColumnOptions())
            try:
                for window in windows(reader, 7):
                    for row in (*window.rows, *window.broken):
                        assert (row.broken is None) == bool(row.texts), row
            finally:
                reader.close()

        replaced(path, content, read)

    return use


def nothing(folder: Path) -> None:
    """The file is all."""


CLASSES, TAGS = "text_classification", "token_classification"
CSV, TSV = FRAME.to_csv(index=False).encode(), FRAME.to_csv(index=False, sep="\t").encode()
EDGES = [
    Edge("csv examples", nothing, damaged_bytes(CSV), examples(CLASSES, ".csv"), 50),
    Edge("tsv examples", nothing, damaged_bytes(TSV), examples(CLASSES, ".tsv"), 40),
    Edge("jsonl examples", nothing, damaged_lines(ROWS), examples(CLASSES, ".jsonl"), 50),
    Edge("json examples", nothing, damaged_json(ROWS), examples(CLASSES, ".json"), 50),
    Edge("parquet examples", nothing, odd_parquet(), examples(CLASSES, ".parquet"), 40),
    Edge("conll examples", nothing, damaged_bytes(CONLL), examples(TAGS, ".conll"), 40),
    Edge("jsonl of tags", nothing, damaged_lines(TAGGED), examples(TAGS, ".jsonl"), 40),
    Edge("documents", nothing, damaged_bytes(DOCUMENTS), examples("text", ".txt"), 30),
    Edge("squad examples", nothing, damaged_json(SQUAD), examples("squad", ".json"), 40),
    Edge("predict csv", nothing, damaged_bytes(CSV), stream(".csv"), 60),
    Edge("predict tsv", nothing, damaged_bytes(TSV), stream(".tsv"), 40),
    Edge("predict jsonl", nothing, damaged_lines(ROWS), stream(".jsonl"), 60),
    Edge("predict text", nothing, damaged_bytes(DOCUMENTS), stream(".txt"), 40),
    Edge("predict parquet", nothing, odd_parquet(), stream(".parquet"), 40),
]
