import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from latadj.inference.streams.layouts import Layout, broken_header, broken_rows
from latadj.inference.streams.rows import Row
from latadj.inference.streams.served_tasks import Labels
from latadj.inference.streams.writing import output_format

ROWS = [Row(1, ("a",), key="x,1"), Row(3, ("b",), key=7)]
OUTPUTS = np.array([[0.25, 0.75], [1.0, 2e-9]], dtype=np.float32)


def test_the_likeliest_label_and_its_probability_are_written():
    layout = Layout("csv", Labels(("bad", "good")))
    assert layout.header() + layout.rows(ROWS, OUTPUTS) == b"row,label,probability\n1,good,0.75\n3,bad,1\n"


def test_every_probability_and_the_id_are_written_where_asked_for():
    layout = Layout("csv", Labels(("bad", "good, or so"), every=True), keyed=True)
    assert (layout.header() + layout.rows(ROWS, OUTPUTS)).decode().splitlines() == [
        'row,id,label,probability,probability_bad,"probability_good, or so"',
        '1,"x,1","good, or so",0.75,0.25,0.75',
        "3,7,bad,1,1,2e-09",
    ]


def test_json_lines_hold_the_same():
    layout = Layout("jsonl", Labels(("bad", "böse"), every=True), keyed=True)
    assert layout.header() == b""
    first, second = map(json.loads, layout.rows(ROWS, OUTPUTS).decode().splitlines())
    assert first == {
        **{"row": 1, "id": "x,1", "label": "böse", "probability": 0.75},
        "probabilities": {"bad": 0.25, "böse": 0.75},
    }
    assert (second["row"], second["id"], second["probabilities"]["böse"]) == (3, 7, 2e-9)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("csv", b"row,value\n1,0.1\n3,-2.5\n"), ("jsonl", b'{"row": 1, "value": 0.1}\n{"row": 3, "value": -2.5}\n')],
)
def test_a_regression_has_a_value(kind, expected):
    layout = Layout(kind, Labels(()))
    assert layout.header() + layout.rows(ROWS, np.array([[0.1], [-2.5]], dtype=np.float32)) == expected


def test_broken_rows_are_listed_with_their_reason():
    assert broken_rows([Row(2, broken='not "so"')]) == b'2,2,"not ""so"""\n'


@pytest.mark.parametrize(("output", "kind"), [("-", "csv"), ("a/b.CSV", "csv"), ("b.jsonl", "jsonl")])
def test_formats_go_by_the_suffix(output, kind):
    assert output_format(output) == kind


def test_another_suffix_is_refused():
    with pytest.raises(ValueError, match=r"output=a.xlsx: expected a name that ends in .csv, .jsonl"):
        output_format("a.xlsx")


def test_ids_that_json_cannot_hold_do_not_stop_a_run():
    rows = [Row(1, ("a",), "\ud800"), Row(2, ("b",), float("nan"))]
    written = Layout("jsonl", Labels(()), keyed=True).rows(rows, np.array([[0.5], [1.0]]))
    first, second = (json.loads(line) for line in written.decode().splitlines())
    assert (first["id"], second["id"]) == ("\ud800", "nan")


def test_broken_rows_are_listed_with_the_line_on_which_they_begin():
    assert broken_header() + broken_rows([Row(2, broken="why", line=5)]) == b"row,line,reason\n2,5,why\n"


def test_labels_and_ids_are_escaped_for_spreadsheets_if_asked_for():
    layout = Layout("csv", Labels(("=1+1", "good")), keyed=True, escape=True)
    written = layout.header() + layout.rows([Row(1, ("a",), key="@x")], np.array([[0.75, 0.25]]))
    assert written == b"row,id,label,probability\n1,'@x,'=1+1,0.75\n"
    assert (
        Layout("jsonl", Labels(("=1+1",)), escape=True).rows([Row(1, ("a",))], np.array([[1.0]])).count(b'"=1+1"') == 1
    )


@pytest.mark.parametrize("label", ["a,b", 'q"', "two\nlines", "a\rreturn", "=1+1", "NA", " spaces ", "é"])
def test_odd_labels_and_ids_come_back(label):
    layout = Layout("csv", Labels((label, "other"), every=True), keyed=True)
    written = layout.header() + layout.rows([Row(1, ("a",), key=label)], np.array([[0.75, 0.25]]))
    (row,) = csv.DictReader(io.StringIO(written.decode(), newline=""), strict=True)
    assert (row["id"], row["label"], row[f"probability_{label}"]) == (label, label, "0.75")
    frame = pd.read_csv(io.BytesIO(written), dtype=str, keep_default_na=False)
    assert list(frame.loc[0, ["id", "label"]]) == [label, label]
