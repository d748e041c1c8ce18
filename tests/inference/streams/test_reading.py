"""Rows of every format, the columns that are chosen, broken rows, and windows cut alike wherever a reader begins."""

import io
import json
import os
import sys
import threading

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from latadj.config import FilesConfig, TaskConfig
from latadj.inference.streams.reading import input_format, is_stream, open_reader, windows
from latadj.inference.streams.rows import ColumnOptions, Row, StreamPosition
from latadj.tasks.data.files import read_file
from latadj.tasks.data.paths import TABLES

PAIRS = [("a b", "c"), ("d, e", 'f "g"'), ("h\ni", "j\tk"), ("löwe", "☃")]


def table(tmp_path, kind, rows=PAIRS, columns=("premise", "hypothesis")):
    path = tmp_path / f"in.{kind}"
    frame = pd.DataFrame([row[: len(columns)] for row in rows], columns=list(columns))
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        frame.to_parquet(path, row_group_size=3)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")), encoding="utf-8")
    return str(path)


def written(tmp_path, data, name="in.txt"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def read(name, kind=None, **options):
    reader = open_reader(name, kind, ColumnOptions(**options))
    found = list(reader.rows())
    reader.close()
    return found


def texts(rows):
    return [row.texts for row in rows]


def broken(rows):
    return {row.number: row.broken for row in rows if row.broken}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_are_read_in_order(tmp_path, kind):
    rows = read(table(tmp_path, kind), trained=["premise", "hypothesis"])
    assert texts(rows) == PAIRS
    assert [row.number for row in rows] == [1, 2, 3, 4]
    swapped = read(table(tmp_path, kind), text=["hypothesis", "premise"], trained=["premise", "hypothesis"])
    assert texts(swapped) == [row[::-1] for row in PAIRS]


def test_plain_text_is_a_row_a_line(tmp_path):
    name = written(tmp_path, b"\xef\xbb\xbfone\r\n  two \n\xe2\x80\xa8three\x0cfour\nlast")
    assert texts(read(name)) == [("one",), ("two",), ("three\x0cfour",), ("last",)]


def test_between_tabs_a_quote_that_ends_nowhere_stands_for_itself(tmp_path):
    lines = ["id\tsentence", '7\t"open', '8\tit\'s "fine"', '9\t"No", he said', '10\tclose"', "11\tlast"]
    rows = read(written(tmp_path, "\n".join(lines) + "\n", "in.tsv"), trained=["sentence"], key="id")
    assert [f"{row.key}\t{row.texts[0]}" for row in rows] == lines[1:]


def test_a_table_with_tabs_is_read_as_training_reads_it(tmp_path):
    said = ['He said "no" to me', "one\ttab", 'an "end"', "plain", "it's"]
    frame = pd.DataFrame({"text": said, "label": ["a", "b", "a", "b", "a"]})
    frame.to_csv(tmp_path / "in.tsv", sep="\t", index=False)
    task = TaskConfig(name="mine", text=["text"], label="label", labels=["a", "b"])
    trained = read_file(tmp_path / "in.tsv", FilesConfig(format=TABLES[".tsv"]), task)
    assert trained["text"].tolist() == said
    assert [row.texts[0] for row in read(str(tmp_path / "in.tsv"), trained=["text"])] == said


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_id_is_carried_along(tmp_path, kind):
    rows = read(table(tmp_path, kind, [("x1", "a"), ("x2", "b")], ("name", "text")), trained=["text"], key="name")
    assert [(row.key, row.texts) for row in rows] == [("x1", ("a",)), ("x2", ("b",))]


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b"good\n\xff\xfe\nfine\n \n", "text", {2: "not UTF-8: invalid start byte at byte 1", 4: "the line is empty"}),
        (
            b'{"text": "a"}\n{"text": \n\n[1]\n{"other": "a"}\n{"text": null}\n{"text": 5}\n{"text": ""}\n'
            b'{"text": "\\ud800"}\n{"text": "\xff"}\n{"text": "z"}\n',
            "jsonl",
            {
                2: "not JSON: Expecting value: line 2 column 1 (char 10)",
                3: "empty",
                4: "JSON, but no object: list",
                5: "text is missing",
                6: "text is missing",
                7: "text holds int, not text",
                8: "text is empty",
                9: "text holds half a character (a lone surrogate)",
                10: "not UTF-8: invalid start byte at byte 11",
            },
        ),
        (
            b'id,text\n1,a\n2\n3,b,c\n4,\n5,\xff\n\n6,"x" y\n7,"m\nn"\n8,"never closed\n',
            "csv",
            {
                2: "1 fields, the header has 2",
                3: "3 fields, the header has 2",
                4: "text is empty",
                5: "not UTF-8: invalid start byte at byte 3",
                6: "no CSV: ',' expected after '\"'",
                8: "no CSV: unexpected end of data",
            },
        ),
        (b"id\ttext\n1\ta\tb\n2\tc\n", "tsv", {1: "3 fields, the header has 2"}),
    ],
)
def test_broken_rows_say_what_is_wrong_and_the_others_are_read(tmp_path, data, kind, expected):
    rows = read(written(tmp_path, data), kind, trained=["text"] if kind != "text" else [])
    assert broken(rows) == expected
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all(row.texts for row in rows if row.number not in expected)


def test_a_row_of_a_table_says_on_which_line_it_begins(tmp_path):
    rows = read(written(tmp_path, 'text\n"a\nb"\n\n""\n', "in.csv"))
    assert (rows[1].where, rows[1].broken) == ("row 2 (line 5)", "text is empty")
    assert Row(3).where == "line 3"


def test_null_and_empty_in_parquet_are_broken(tmp_path):
    pd.DataFrame({"text": ["a", None, " ", "b"]}).to_parquet(tmp_path / "in.parquet")
    rows = read(str(tmp_path / "in.parquet"))
    assert broken(rows) == {2: "text is missing", 3: "text is empty"}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": ["nope"]}, "column 'nope' is missing; there are premise, hypothesis"),
        ({}, "which column holds the text.*say text=COLUMN"),
        ({"trained": ["sentence"]}, "fine-tuned on sentence: say text=COLUMN"),
        ({"trained": ["s1", "s2"]}, r"say text=\[COLUMN,COLUMN\]"),
        ({"text": ["premise"], "trained": ["s1", "s2"]}, r"text=premise: this model reads 2 text columns \(s1, s2\)"),
        ({"text": ["premise"], "key": "nr"}, "id=nr: .* has no such column; there are premise, hypothesis"),
    ],
)
def test_columns_that_are_not_there_are_refused(tmp_path, kind, options, message):
    with pytest.raises(ValueError, match=message):
        read(table(tmp_path, kind), **options)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_only_column_is_taken_whatever_its_name(tmp_path, kind):
    assert texts(read(table(tmp_path, kind, [("a",), ("b",)], ["said"]), trained=["text"])) == [("a",), ("b",)]


def test_a_column_with_a_sign_in_its_name_is_taken_where_it_is_named(tmp_path):
    assert texts(read(written(tmp_path, "a;b\nyes\n", "in.csv"), text=["a;b"])) == [("yes",)]
    assert texts(read(written(tmp_path, "text,,\nyes,,\n", "in.csv"), trained=["text"])) == [("yes",)]


def test_the_only_column_with_text_is_taken(tmp_path):
    assert texts(read(written(tmp_path, '{"n": 1, "said": "a"}\n', "in.jsonl"), trained=["text"])) == [("a",)]
    pd.DataFrame({"n": [1], "said": ["a"]}).to_parquet(tmp_path / "in.parquet")
    assert texts(read(str(tmp_path / "in.parquet"), trained=["text"])) == [("a",)]


@pytest.mark.parametrize(
    ("data", "name", "options", "message"),
    [
        ("a\n", "in.txt", {"text": ["x"]}, "text=x: .* plain text, which has no columns"),
        ("a\n", "in.txt", {"key": "x"}, "id=x: .* plain text, which has no columns"),
        ("a\n", "in.txt", {"trained": ["p", "h"]}, r"reads 2 texts at a time \(p, h\)"),
        ("", "in.csv", {}, "empty, without even a header"),
        ("text;n\na;1\n", "in.csv", {"trained": ["text"]}, "only column is .text;n.: .* commas between columns"),
        ("text,text\na,b\n", "in.csv", {"trained": ["text"]}, "there are several columns 'text': rename the others"),
        ("text,n,n\na,1,2\n", "in.csv", {"text": ["text"], "key": "n"}, "there are several columns 'n'"),
        (b"\xff,b\n", "in.csv", {}, "its header is not UTF-8"),
        ("one\ntwo\n", "in.jsonl", {}, "none of its first 2 lines is a JSON object"),
        ("no\n", "in.parquet", {}, "this is no Parquet file"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, data, name, options, message):
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, data, name), **options)


def test_a_column_of_numbers_is_no_text(tmp_path):
    pd.DataFrame({"text": [1, 2]}).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(ValueError, match="column 'text' holds int64, not text"):
        read(str(tmp_path / "in.parquet"), text=["text"])


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("a.TXT", None, "text"),
        ("a.ndjson", None, "jsonl"),
        ("-", None, "text"),
        ("-", "csv", "csv"),
        ("a", "tsv", "tsv"),
    ],
)
def test_formats_go_by_the_suffix_or_what_is_said(name, chosen, expected):
    assert input_format(name, chosen) == expected


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("a.doc", None, r"input=a.doc: the suffix does not say its format: add format=text\|csv"),
        ("a.csv", "xml", "format=xml: expected one of text, csv, tsv, jsonl, parquet"),
        ("-", "parquet", "give a file"),
    ],
)
def test_other_formats_are_refused(name, chosen, message):
    with pytest.raises(ValueError, match=message):
        input_format(name, chosen)


def test_missing_inputs_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no\.txt: no such file"):
        read(str(tmp_path / "no.txt"))
    with pytest.raises(ValueError, match="this is a folder"):
        read(str(tmp_path), "text")


@pytest.mark.parametrize("kind", ["text", "csv", "jsonl"])
def test_standard_input_is_read_like_a_file(monkeypatch, kind):
    data = {"text": "a\nb\n", "csv": "text\na\nb\n", "jsonl": '{"text": "a"}\n{"text": "b"}\n'}[kind]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.encode())))
    assert texts(read("-", kind, trained=["text"])) == [("a",), ("b",)]


def many(tmp_path, kind):
    """Rows with broken ones among them, and quoted line ends in the tables."""
    values = [None if n % 7 == 3 else f"text {n}\nand more" * (1 + n % 3) for n in range(40)]
    if kind == "text":
        return written(tmp_path, "\n".join("" if value is None else value.split("\n")[0] for value in values) + "\n")
    frame = pd.DataFrame({"text": values, "id": range(40)})
    path = tmp_path / f"in.{kind}"
    if kind == "parquet":
        frame.to_parquet(path, row_group_size=7)
    elif kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return str(path)


@pytest.mark.parametrize("kind", ["text", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize("size", [1, 6, 100])
def test_windows_are_cut_alike_wherever_a_reader_begins(tmp_path, kind, size):
    name = many(tmp_path, kind)

    def opened():
        return open_reader(name, None, ColumnOptions(trained=[] if kind == "text" else ["text"]))

    whole = list(windows(opened(), size))
    rows = sorted((row for window in whole for row in window.rows + window.broken), key=lambda row: row.number)
    assert [row.number for row in rows] == list(range(1, 41))
    assert sum(len(window.broken) for window in whole) == 6
    assert all(len(window.rows) + len(window.broken) == size for window in whole[:-1])
    assert whole[-1].end.row == 40
    for behind in range(len(whole)):
        reader = opened()
        reader.seek(whole[behind - 1].end if behind else StreamPosition())
        assert list(windows(reader, size)) == whole[behind:]


def test_long_texts_fill_a_window_early(tmp_path, monkeypatch):
    monkeypatch.setattr("latadj.inference.streams.reading.WINDOW_CHARACTERS", 10)
    name = written(tmp_path, "aaaa\nbbbb\ncccc\ndddd\n")
    assert [len(window.rows) for window in windows(open_reader(name, None, ColumnOptions()), 100)] == [3, 1]


@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_an_empty_file_has_no_windows(tmp_path, kind):
    assert list(windows(open_reader(written(tmp_path, ""), kind, ColumnOptions()), 5)) == []


def test_a_reader_knows_how_much_there_is(tmp_path):
    reader = open_reader(written(tmp_path, "a\nbb\n"), None, ColumnOptions())
    assert (reader.total, reader.done) == (5, 0)
    next(reader.rows())
    assert reader.done == 2
    reader = open_reader(table(tmp_path, "parquet"), None, ColumnOptions(["premise"]))
    assert (reader.total, reader.done) == (4, 0)


def test_a_quote_that_is_never_closed_costs_its_own_row_only(tmp_path):
    name = written(tmp_path, 'text\nbefore\n"never closed\nafter\n"one, two"\nlast\n', "in.csv")
    found = read(name)
    assert [row.number for row in found] == [1, 2, 3, 4, 5]
    assert texts([row for row in found if not row.broken]) == [("before",), ("after",), ("one, two",), ("last",)]
    assert list(broken(found)) == [2]
    assert [row.line for row in found] == [2, 3, 4, 5, 6]


def test_a_number_of_too_many_digits_is_a_broken_row(tmp_path):
    name = written(tmp_path, '{"text": "a"}\n{"text": "b", "n": ' + "9" * 5000 + '}\n{"text": "c"}\n', "in.jsonl")
    assert list(broken(read(name))) == [2]


def test_text_in_parquet_that_is_no_utf8_is_a_broken_row(tmp_path):
    values = pa.array([b"one", b"\xff", b"three"]).cast(pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"text": values}), tmp_path / "in.parquet")
    found = read(str(tmp_path / "in.parquet"))
    assert broken(found) == {2: "not UTF-8"}
    assert texts([row for row in found if not row.broken]) == [("one",), ("three",)]


def test_the_name_of_a_parquet_column_that_is_no_text(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"reviewE!": ["a film"]}).to_parquet(path)
    path.write_bytes(path.read_bytes().replace(b"reviewE!", b"review\xff\xfe"))
    with pytest.raises(ValueError, match=r"a.parquet: the name of a column is no UTF-8 text: rename it"):
        open_reader(str(path), None, ColumnOptions())


def test_a_parquet_file_that_is_damaged_inside(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"review": [f"film {number}" for number in range(99)]}).to_parquet(path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 56 + data[60:])
    reader = open_reader(str(path), None, ColumnOptions())
    with pytest.raises(ValueError, match=r"a.parquet: this Parquet file is damaged or was cut short"):
        list(reader.rows())


@pytest.mark.parametrize(("name", "rows"), [("pipe", 3), ("pipe.csv", 2)])
def test_a_pipe_is_read_once(tmp_path, name, rows):
    path = tmp_path / name
    os.mkfifo(path)
    assert is_stream(str(path))
    writer = threading.Thread(target=path.write_text, args=("text\na film\nanother\n",))
    writer.start()
    reader = open_reader(str(path), None, ColumnOptions())
    assert [row.number for row in reader.rows()] == list(range(1, rows + 1))
    writer.join()
    with pytest.raises(ValueError, match="Parquet is read from its end, which a stream does not have"):
        open_reader(str(path), "parquet", ColumnOptions())


def test_files_and_folders_are_no_streams(tmp_path):
    (tmp_path / "a.txt").write_text("a film")
    assert [is_stream(name) for name in ("-", str(tmp_path), str(tmp_path / "a.txt"), "none.txt")] == [
        True,
        *[False] * 3,
    ]


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ValueError, match="input=-: standard input is closed: give a file"):
        open_reader("-", None, ColumnOptions())
