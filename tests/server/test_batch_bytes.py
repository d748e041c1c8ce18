"""Rows and answers survive the way between processes."""

import numpy as np
import pytest

from latadj.server.batch_bytes import (
    BatchAnswer,
    answer_from_bytes,
    answer_to_bytes,
    batch_from_bytes,
    batch_to_bytes,
)


def test_rows_come_out_as_they_went_in():
    rows, place = batch_from_bytes(batch_to_bytes([{"input_ids": [5, 6, 7]}, {"input_ids": [2**30]}], 31))
    assert place == 31
    assert [row["input_ids"].tolist() for row in rows] == [[5, 6, 7], [2**30]]
    assert all(set(row) == {"input_ids"} for row in rows)


def test_token_types_of_pairs_among_single_texts():
    given = [{"input_ids": [5, 6]}, {"input_ids": [7, 8, 9], "token_type_ids": [0, 1, 1]}]
    rows, _ = batch_from_bytes(batch_to_bytes(given, 0))
    assert [row["token_type_ids"].tolist() for row in rows] == [[0, 0], [0, 1, 1]]


def test_an_answer_comes_out_as_it_went_in():
    outputs = np.array([[0.5, -1.25], [3.0, 4.0], [np.float32(0.1), 0.0]], dtype=np.float32)
    found = answer_from_bytes(answer_to_bytes(BatchAnswer(outputs, 0.0123)))
    assert found.seconds == 0.0123
    np.testing.assert_array_equal(found.outputs, outputs)


@pytest.mark.parametrize("data", [b"", b"abc", batch_to_bytes([{"input_ids": [1, 2, 3]}], 0)[:-4]])
def test_other_bytes_are_no_batch(data):
    with pytest.raises(ValueError, match="a batch of"):
        batch_from_bytes(data)
