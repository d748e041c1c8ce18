"""The numbers of embeddings: those of sentence-transformers, and where their ranges come from."""

import json

import numpy as np
import pytest
from sentence_transformers import quantize_embeddings

from latadj.inference.streams.layouts import Layout
from latadj.inference.streams.ranges import Ranges
from latadj.inference.streams.rows import Row
from latadj.inference.streams.served_embeddings import Embeddings

VECTORS = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)


@pytest.mark.parametrize("numbers", ["int8", "uint8"])
def test_ranges_are_those_of_the_first_window_and_what_lies_beyond_is_counted(numbers):
    task = Embeddings(numbers)
    first, second = task.answers(VECTORS[:150], None), task.answers(VECTORS[150:], None)
    ends = np.stack([VECTORS[:150].min(axis=0), VECTORS[:150].max(axis=0)])
    assert np.array_equal(task.ranges.array(), ends)
    assert np.array_equal(np.concatenate([first, second]), quantize_embeddings(VECTORS, numbers, ranges=ends))
    beyond = (VECTORS[150:] < ends[0]) | (VECTORS[150:] > ends[1])
    assert (task.ranges.texts, task.ranges.clipped) == (150, beyond.sum())
    assert task.ranges.clipped > 0
    assert first.dtype == task.dtype == numbers


@pytest.mark.parametrize("numbers", ["binary", "ubinary"])
def test_signs_are_packed_as_sentence_transformers_packs_them(numbers):
    task = Embeddings(numbers)
    assert np.array_equal(task.answers(VECTORS, None), quantize_embeddings(VECTORS, numbers))
    assert task.answers(VECTORS, None).dtype == task.dtype
    assert task.ranges is None


def test_few_texts_are_named_where_ranges_are_taken_of_them(caplog):
    Embeddings("int8").answers(VECTORS[:99], None)
    assert "the first 99 texts hold, which are few" in caplog.text
    caplog.clear()
    Embeddings("int8").answers(VECTORS[:100], None)
    assert not caplog.text


def test_one_text_has_no_range():
    with pytest.raises(ValueError, match=r"that is one text: give ranges=FILE.npy, or a larger window"):
        Embeddings("int8").answers(VECTORS[:1], None)


def test_what_float16_does_not_reach_is_refused():
    assert np.array_equal(Embeddings("float16").answers(VECTORS, None), VECTORS.astype(np.float16))
    with pytest.raises(
        ValueError, match="vectors=float16 ends at 65504, and an embedding has 70000: take vectors=float32"
    ):
        Embeddings("float16").answers(np.array([[7e4, 1]], dtype=np.float32), None)


@pytest.mark.parametrize(
    ("numbers", "answer", "csv", "listed"),
    [
        ("float32", [0.1, -2.5], "0.1 -2.5", [0.1, -2.5]),
        ("float16", [0.5, -2.5], "0.5 -2.5", [0.5, -2.5]),
        ("int8", [7, -128], "7 -128", [7, -128]),
    ],
)
def test_vectors_in_lines(numbers, answer, csv, listed):
    task = Embeddings(numbers)
    answers = np.array([answer], dtype=task.dtype)
    assert Layout("csv", task).rows([Row(3)], answers).decode() == f"3,{csv}\n"
    assert Layout("csv", task).header() == b"row,embedding\n"
    assert json.loads(Layout("jsonl", task).rows([Row(3)], answers)) == {"row": 3, "embedding": listed}


def test_ranges_are_left_as_they_are_read_and_those_that_were_given_are_not(tmp_path):
    taken = Ranges.of(VECTORS)
    taken.leave(tmp_path / "r.npy")
    assert np.array_equal(np.load(tmp_path / "r.npy"), [VECTORS.min(axis=0), VECTORS.max(axis=0)])
    again = Ranges.read(tmp_path / "r.npy")
    assert (again.low, again.high, again.texts) == (taken.low, taken.high, 0)
    again.leave(tmp_path / "r.npy")  # of an output that is overwritten with ranges from elsewhere
    assert not (tmp_path / "r.npy").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"text", "it cannot be read"),
        (np.zeros(3), r"got \(3,\)"),
        (np.zeros((2, 0)), r"got \(2, 0\)"),
        (np.array([[1.0], [0.0]]), "none above the one below it"),
        (np.array([[0.0], [np.inf]]), "finite numbers"),
        (np.array([["a"], ["b"]]), "finite numbers"),
    ],
)
def test_a_file_that_holds_no_ranges_is_refused(tmp_path, content, message):
    path = tmp_path / "r.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(ValueError, match=f"ranges=.*{message}"):
        Ranges.read(path)
