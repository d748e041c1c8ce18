"""What is written as CSV is read back as it was, by pandas and by Python's own reader."""

import csv
import io

import pandas as pd
import pytest

from latadj.utils.csv_text import csv_text, frame_csv

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
