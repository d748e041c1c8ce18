"""Training texts with words left out."""

import pytest
from datasets import Dataset

from latadj.training.word_dropout import DROPOUT, FEW, SHORT_SHARE, with_word_dropout

ROWS = Dataset.from_list(
    [
        {"input_ids": [1, *range(10, 60), 2], "attention_mask": [1] * 52, "labels": 1, "length": 52},
        {"input_ids": [1, 10, 2], "attention_mask": [1] * 3, "labels": 0, "length": 3},
    ]
)


def test_no_copies_leave_the_rows_as_they_are():
    assert with_word_dropout(ROWS, 0, special=[1, 2], seed=0) is ROWS


def test_copies_come_after_the_rows_and_keep_label_order_and_special_tokens():
    found = with_word_dropout(ROWS, 2, special=[1, 2], seed=0).to_list()
    assert found[:2] == ROWS.to_list()
    assert [row["labels"] for row in found] == [1, 0] * 3
    for copy, whole in zip(found[2:], ROWS.to_list() * 2, strict=True):
        tokens, rest = copy["input_ids"], iter(whole["input_ids"])
        assert all(token in rest for token in tokens), "another order, or tokens of another text"
        assert (tokens[0], tokens[-1]) == (1, 2)
        assert len(tokens) == len(copy["attention_mask"]) == copy["length"]
    assert found[2] != found[4]


def test_copies_lack_about_the_share_that_is_said_and_some_have_a_few_words_next_to_each_other():
    copies = with_word_dropout(ROWS, 400, special=[1, 2], seed=0).to_list()[2::2]
    short = [row["input_ids"][1:-1] for row in copies if row["length"] - 2 <= FEW]
    lengths = [row["length"] - 2 for row in copies if row["length"] - 2 > FEW]
    assert sum(lengths) / len(lengths) == pytest.approx(50 * (1 - DROPOUT), abs=1)
    assert len(short) / len(copies) == pytest.approx(SHORT_SHARE, abs=0.05)
    assert {len(words) for words in short} == set(range(1, FEW + 1))
    assert all(words == list(range(words[0], words[0] + len(words))) for words in short)


def test_copies_are_those_of_the_seed():
    first, again, other = (with_word_dropout(ROWS, 1, special=[1, 2], seed=seed).to_list() for seed in (3, 3, 4))
    assert first == again != other


def test_a_text_that_would_be_empty_stays_whole():
    rows = Dataset.from_list([{"input_ids": [10], "labels": 0, "length": 1}])
    assert all(row["input_ids"] for row in with_word_dropout(rows, 50, special=[], seed=0))
