"""The threshold of no answer, against cases worked by hand."""

import numpy as np
import pytest

from latadj.tasks.metrics.squad import best_threshold


def best(odds, answered, silent):
    return best_threshold(np.array(odds, float), np.array(answered, float), np.array(silent, float))


def test_the_threshold_parts_what_has_an_answer_from_what_has_none():
    # Sorted by odds: -3 right, -1 right, 2 has none, 4 right but late, 5 has none.
    found = best([2.0, -3.0, 4.0, -1.0, 5.0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 1])
    assert found.value == -1.0
    assert found.score == pytest.approx(4 / 5)


def test_scores_between_nothing_and_all_count():
    # All silent: 1; answer the first: 1.4; the second: 1.4 - 1 + 0 = 0.4; the third: 0.4 + 0.9 = 1.3
    found = best([-2.0, 0.0, 1.0], [0.4, 0.0, 0.9], [0.0, 1.0, 0.0])
    assert found.value == -2.0
    assert found.score == pytest.approx(1.4 / 3)


def test_all_are_answered_where_that_is_best():
    assert best([3.0, 1.0], [1, 1], [0, 0]) == best_threshold(np.array([3.0, 1.0]), np.ones(2), np.zeros(2))
    assert best([3.0, 1.0], [1, 1], [0, 0]).value == 3.0


def test_none_is_answered_where_that_is_best():
    found = best([0.5, 1.0], [0, 0], [1, 1])
    assert found.value < 0.5
    assert found.value == pytest.approx(0.5)
    assert found.score == 1.0


def test_of_equal_odds_all_are_answered_or_none():
    # Answering one of the two alone would give 2, which no threshold can.
    found = best([1.0, 1.0], [1, 0], [0, 1])
    assert found.score == 0.5
    assert found.value < 1.0


def test_questions_that_cannot_be_answered_are_left_silent():
    found = best([np.inf, 2.0], [1, 1], [1, 0])
    assert (found.value, found.score) == (2.0, 1.0)
    assert best([np.inf], [1], [1]) == best_threshold(np.array([np.inf]), np.ones(1), np.ones(1))
    assert best([np.inf], [0], [0]).value == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    odds = np.round(rng.normal(size=30), 1)
    answered, silent = rng.random(30), (rng.random(30) < 0.3).astype(float)
    found = best_threshold(odds, answered, silent)

    def score(threshold):
        return float(np.where(odds > threshold, silent, answered).mean())

    assert score(found.value) == pytest.approx(found.score)
    assert found.score == pytest.approx(max(score(value) for value in [-9.0, *odds]))


def test_no_question_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one question"):
        best([], [], [])
