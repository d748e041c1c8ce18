"""Exact match and F1 of answers, against cases worked by hand."""

import numpy as np
import pytest

from latadj.tasks.metrics.squad import AnswerScores, exact_match, f1, golds_of, normalized


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The Cat", "cat"),
        ("  the   cat\tsat \n", "cat sat"),
        ("an apple a day", "apple day"),
        # articles inside words stay, and those that punctuation glues to a word are one word with it
        ("Athens, another anthem", "athens another anthem"),
        ("theater", "theater"),
        ("the-cat", "thecat"),
        ("a.b", "ab"),
        ("A", ""),
        ("The a an", ""),
        ("U.S.", "us"),
        ("$1,000.50", "100050"),
        ("it's", "its"),
        ("rock 'n' roll!", "rock n roll"),
        ("!!!", ""),
        ("", ""),
        # punctuation beyond ASCII is kept
        ("“quoted”", "“quoted”"),
        ("1914–1918", "1914–1918"),
        ("it’s", "it’s"),
        ("«the» end", "« » end"),
        ("¿qué?", "¿qué"),
        # case beyond ASCII, and whitespace beyond it
        ("ÉCOLE", "école"),
        ("the\u00a0end", "end"),
        ("straße", "straße"),
        ("a_b", "ab"),
    ],
)
def test_an_answer_loses_what_does_not_count(answer, expected):
    assert normalized(answer) == expected


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1.0),
        ("Eiffel", "Eiffel Tower", 0.0),
        ("U.S.", "US", 1.0),
        ("“yes”", "yes", 0.0),
        ("the", "", 1.0),
        ("10", "10.0", 0.0),
    ],
)
def test_exact_match_compares_what_counts(answer, gold, expected):
    assert exact_match(answer, gold) == expected


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("Eiffel Tower", "the Eiffel Tower", 1.0),
        ("Eiffel", "Eiffel Tower", 2 / 3),  # precision 1, recall 1/2
        ("big Eiffel Tower", "Eiffel Tower in Paris", 4 / 7),  # precision 2/3, recall 2/4
        ("Paris", "London", 0.0),
        ("tower tower", "tower", 2 / 3),  # a word counts as often as both have it: precision 1/2, recall 1
        ("tower tower tower", "tower tower bridge", 2 / 3),
        ("tower Eiffel", "Eiffel Tower", 1.0),  # order does not count
        ("in 1889", "1889.", 2 / 3),
    ],
)
@pytest.mark.parametrize("no_answer", [True, False])
def test_f1_is_worked_by_hand(answer, gold, expected, no_answer):
    assert f1(answer, gold, no_answer=no_answer) == pytest.approx(expected, abs=1e-12)
    assert f1(gold, answer, no_answer=no_answer) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "gold", "one", "two"),
    [("", "", 0.0, 1.0), ("the", "", 0.0, 1.0), ("!", "a", 0.0, 1.0), ("", "cat", 0.0, 0.0), ("cat", "", 0.0, 0.0)],
)
def test_answers_without_a_word_agree_in_squad_2_only(answer, gold, one, two):
    assert f1(answer, gold, no_answer=False) == one
    assert f1(answer, gold, no_answer=True) == two


def test_golds_without_a_word_count_in_squad_1_only():
    assert golds_of(["the", "cat"], no_answer=False) == ["the", "cat"]
    assert golds_of(["the", "cat"], no_answer=True) == ["cat"]
    assert golds_of(["the", "!"], no_answer=True) == [""]
    assert golds_of([], no_answer=True) == [""]
    assert golds_of([], no_answer=False) == []


def test_the_nearest_gold_counts_for_each_measure_alone():
    scores = AnswerScores.of(
        ["Denver Broncos", "gold", "in Paris today"],
        [["Denver Broncos", "Broncos"], ["red", "gold medal", "a medal"], ["Paris", "Paris today", "London"]],
        no_answer=False,
    )
    assert scores.exact.tolist() == [1.0, 0.0, 0.0]
    assert scores.f1.tolist() == pytest.approx([1.0, 2 / 3, 4 / 5])
    found = scores.summary("squad_f1", groups=False)
    assert list(found) == ["squad_f1", "exact_match"]
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["squad_f1"] == pytest.approx((1 + 2 / 3 + 4 / 5) / 3)


def test_questions_with_and_without_an_answer_are_told_apart():
    scores = AnswerScores.of(
        ["cat", "", "", "dog"],
        [["cat"], ["big cat"], [], []],
        no_answer=True,
    )
    assert scores.answerable.tolist() == [True, True, False, False]
    assert scores.summary("squad_f1", groups=True) == {
        "squad_f1": 0.5,
        "exact_match": 0.5,
        "has_answer_f1": 0.5,
        "has_answer_exact": 0.5,
        "no_answer_f1": 0.5,
        "no_answer_exact": 0.5,
    }


def test_groups_without_a_question_are_left_out():
    scores = AnswerScores.of(["cat"], [["the cat"]], no_answer=True)
    assert list(scores.summary("squad_f1", groups=True)) == [
        "squad_f1",
        "exact_match",
        "has_answer_f1",
        "has_answer_exact",
    ]


def test_no_question_at_all_scores_nothing():
    assert AnswerScores.of([], [], no_answer=True).summary("squad_f1", groups=True) == {
        "squad_f1": 0.0,
        "exact_match": 0.0,
    }
    assert np.array_equal(AnswerScores.of([""], [[]], no_answer=False).f1, [0.0])
