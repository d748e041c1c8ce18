"""What is written as CSV is read back as it was, by pandas and by Python's own reader."""

import csv
import io

import pandas as pd
import pytest

from latadj.utils.csv_text import csv_text, escaped, frame_csv

ODD = ["a,b", 'q"', "two\nlines", "a\rreturn", "both\r\nof them", "\r", "=1+1", "NA", "", " spaces ", "é"]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_text_comes_back(odd):
    rows = [["id", "text"], ["1", odd], ["2", "plain"]]
    text = csv_text(rows)
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == rows
    read = pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False)
    assert [list(read.columns), *read.to_numpy().tolist()] == rows
    assert frame_csv(pd.DataFrame(rows[1:], columns=rows[0])) == text


def test_plain_rows_end_with_a_line_feed():
    assert csv_text([["id", "text"], [1, "plain"]]) == "id,text\n1,plain\n"


@pytest.mark.parametrize("formula", ["=1+1", "+cmd|'x'", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=", "-"], ids=repr)
def test_what_a_spreadsheet_would_run_is_escaped_if_asked_for(formula):
    rows = [["id", formula], [formula, "plain"]]
    back = list(csv.reader(io.StringIO(csv_text(rows, escape=True), newline=""), strict=True))
    assert back == [["id", f"'{formula}"], [f"'{formula}", "plain"]]
    assert frame_csv(pd.DataFrame(rows[1:], columns=rows[0]), escape=True) == csv_text(rows, escape=True)


@pytest.mark.parametrize("value", ["-0.5", "+1", "-1e-05", ".5", -0.5, "a=b", "'=1", "", None, 3], ids=repr)
def test_numbers_and_plain_text_are_never_escaped(value):
    assert escaped(value) == value
