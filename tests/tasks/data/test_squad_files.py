"""Questions read from files: SQuAD's JSON, and tables with the hub's columns."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from latadj.tasks.data import splits
from latadj.tasks.data.questions import COLUMNS, answer_start, from_hub, read_questions, refuse_twice

CONTEXT = "The Broncos beat the Panthers. The Broncos won."


def official(folder, questions, name="train-v1.1.json", context=CONTEXT):
    path = folder / name
    document = {"version": "1.1", "data": [{"title": "Bowl", "paragraphs": [{"context": context, "qas": questions}]}]}
    path.write_text(json.dumps(document))
    return path


def asked(name, *answers, question="Who won?", **more):
    return {
        "id": name,
        "question": question,
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
        **more,
    }


def test_official_json_becomes_a_table(tmp_path):
    path = official(tmp_path, [asked("q1", ("Broncos", 4), ("The Broncos", 31)), asked("q2", ("Panthers", 21))])
    frame = read_questions(path, no_answer=False)
    assert tuple(frame) == COLUMNS
    assert frame["id"].tolist() == ["q1", "q2"]
    assert frame["title"].tolist() == ["Bowl", "Bowl"]
    assert frame["texts"].tolist() == [["Broncos", "The Broncos"], ["Panthers"]]
    assert frame["starts"].tolist() == [[4, 31], [21]]
    assert set(frame["context"]) == {CONTEXT}


def test_impossible_questions_have_no_answer_whatever_is_beside_them(tmp_path):
    plausible = [{"text": "Broncos", "answer_start": 4}]
    questions = [
        asked("q1", ("Broncos", 4), is_impossible=False),
        asked("q2", is_impossible=True, plausible_answers=plausible),
        asked("q3", ("Broncos", 4), is_impossible=True),
    ]
    path = official(tmp_path, questions, "dev-v2.0.json")
    assert read_questions(path, no_answer=True)["texts"].tolist() == [["Broncos"], [], []]
    with pytest.raises(ValueError, match=r"of 3 questions 2 have no answer, 'q2' the first: take task=squad_v2"):
        read_questions(path, no_answer=False)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_files_with_the_hubs_columns_give_the_same_table(tmp_path, kind):
    expected = read_questions(official(tmp_path, [asked("q1", ("Broncos", 4)), asked("q2")]), no_answer=True)
    frame = pd.DataFrame(
        {
            "id": ["q1", "q2"],
            "title": ["Bowl", "Bowl"],
            "context": [CONTEXT] * 2,
            "question": ["Who won?"] * 2,
            "answers": [{"text": ["Broncos"], "answer_start": [4]}, {"text": [], "answer_start": []}],
        }
    )
    path = tmp_path / f"train.{kind}"
    if kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    pd.testing.assert_frame_equal(read_questions(path, no_answer=True), expected)


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("Broncos", 4, 4),
        ("Broncos", 5, 4),
        ("Broncos", 30, 35),
        ("Broncos", -9, 4),
        ("Broncos", 999, 35),
        ("Bears", 4, -1),
        ("", 4, -1),
    ],
)
def test_an_answer_is_found_nearest_to_its_start(text, start, expected):
    assert answer_start(CONTEXT, text, start) == expected


def test_answers_that_stand_elsewhere_are_counted_and_looked_for(tmp_path, caplog):
    path = official(tmp_path, [asked("q1", ("Broncos", 3), ("Bears", 4)), asked("q2", ("Panthers", 21))])
    with caplog.at_level(logging.WARNING, logger="latadj"):
        frame = read_questions(path, no_answer=False)
    assert frame["starts"].tolist() == [[4, -1], [21]]
    assert "2 of 3 answers do not stand at their start: 1 found elsewhere in the context, 1 nowhere" in caplog.text


def test_answers_in_place_warn_of_nothing(tmp_path, caplog):
    read_questions(official(tmp_path, [asked("q1", ("Broncos", 4))]), no_answer=False)
    assert not caplog.records


def test_an_id_that_stands_twice_is_refused(tmp_path):
    path = official(tmp_path, [asked("q1", ("Broncos", 4)), asked("q1", ("Panthers", 21))])
    with pytest.raises(ValueError, match=r"train-v1.1.json: question id 'q1' stands there twice"):
        read_questions(path, no_answer=False)
    one = read_questions(official(tmp_path, [asked("q1", ("Broncos", 4))]), no_answer=False)
    with pytest.raises(ValueError, match=r"train and test: question id 'q1' stands there twice \(1 ids do\)"):
        refuse_twice({"train": one, "test": one})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [{"title": ', r"cannot be read as JSON: Expecting value: line 1 column \d+"),
        (b"\xff\xfe\x00", "cannot be read as JSON: "),
        ("[1]", "expected an object with 'data', got list: no SQuAD JSON"),
        ('{"version": "1.1"}', "'data' is missing; there are version"),
        ('{"data": {}}', "expected a list as 'data', got dict"),
        ('{"data": []}', "there is no question in it"),
        ('{"data": [{"title": "x"}]}', "article 1: 'paragraphs' is missing; there are title"),
        ('{"data": [{"paragraphs": [{"qas": [{"id": "1"}]}]}]}', "article 1, paragraph 1: 'context' is missing"),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "1", "question": "?"}]}]}]}',
            "article 1, paragraph 1, question 1: 'answers' is missing; there are id, question",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "1", "question": "?", "answers": [{"text": 3, '
            '"answer_start": 0}]}]}]}]}',
            "question 1: expected text as its answer 1, got 3",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "1", "question": "?", "answers": [{"text": "x", '
            '"answer_start": "0"}]}]}]}]}',
            "question 1: expected a whole number as answer_start, got '0'",
        ),
        (
            '{"data": [{"paragraphs": [{"context": " ", "qas": [{"id": "1", "question": "?", "answers": []}]}]}]}',
            "question 1: its context is empty",
        ),
    ],
)
def test_damaged_json_is_one_line_that_says_where(tmp_path, content, message):
    path = tmp_path / "train.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as raised:
        read_questions(path, no_answer=True)
    assert "\n" not in str(raised.value)
    assert "train.json" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", "id\n", "expected a file that ends in .json, .jsonl, .parquet"),
        ("train.parquet", "no parquet", "cannot be read as parquet"),
        ("train.jsonl", '{"id": 1}\n{', "cannot be read as jsonl"),
        ("train.jsonl", '{"id": 1}\n', "column 'context' is missing; there are id"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_questions(tmp_path / name, no_answer=False)
    assert "\n" not in str(raised.value)


def test_a_context_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    path = official(tmp_path, [asked("q1", ("Broncos", 4))])
    monkeypatch.setattr(splits, "MOST_CHARACTERS", len(CONTEXT))
    assert len(read_questions(path, no_answer=False)) == 1
    monkeypatch.setattr(splits, "MOST_CHARACTERS", 20)
    with pytest.raises(ValueError, match=r"question 1: its context has 47 characters, and 20 can be read: cut it"):
        read_questions(path, no_answer=False)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dev\.json: no such file"):
        read_questions(tmp_path / "dev.json", no_answer=False)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("Broncos", "hub: row 1: expected answers with 'text' and 'answer_start'"),
        ({"text": ["Broncos"], "answer_start": []}, "hub: row 1 has 1 answers and 0 starts"),
    ],
)
def test_answers_of_another_form_are_refused(answers, message):
    frame = pd.DataFrame({"id": ["q"], "context": [CONTEXT], "question": ["?"], "answers": [answers]})
    with pytest.raises(ValueError, match=message):
        from_hub(frame, "hub", no_answer=False)


def test_arrays_as_parquet_gives_them_become_lists():
    answers = {"text": np.array(["Broncos"], dtype=object), "answer_start": np.array([4], dtype=np.int32)}
    frame = pd.DataFrame({"id": ["q"], "context": [CONTEXT], "question": ["?"], "answers": [answers]})
    found = from_hub(frame, "hub", no_answer=False)
    assert found["texts"].tolist() == [["Broncos"]]
    assert found["starts"].tolist() == [[4]]
    assert found["title"].tolist() == [""]
