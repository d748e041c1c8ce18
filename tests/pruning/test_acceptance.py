import numpy as np
import pytest

from latadj.pruning.acceptance import AcceptanceCriterion, ScoredPredictions

TEXTS = 400
RIGHT = np.arange(TEXTS) % 2


def scored(wrong, loss=0.3, spread=0.05):
    """So many texts wrong, from the last on; losses around ``loss``."""
    predictions = RIGHT.copy()
    if wrong:
        predictions[-wrong:] = 1 - predictions[-wrong:]
    return ScoredPredictions(predictions, loss + spread * np.sin(np.arange(TEXTS)))


def criterion(tolerance=0.0, wrong=40, max_loss_increase=0.0):
    full = scored(wrong)
    return AcceptanceCriterion(
        "accuracy", RIGHT, full, tolerance=tolerance, confidence=0.9, max_loss_increase=max_loss_increase, seed=0
    )


def test_the_same_answers_pass_at_no_tolerance():
    evaluation = criterion()(scored(40))
    assert evaluation.passes
    assert (evaluation.metric, evaluation.difference, evaluation.difference_ci) == (0.9, 0.0, (0.0, 0.0))
    assert evaluation.loss_increase == 0.0


@pytest.mark.parametrize(
    ("tolerance", "wrong", "passes"), [(0, 39, True), (0, 41, False), (0.01, 44, True), (0.01, 45, False)]
)
def test_the_metric_decides_to_the_text(tolerance, wrong, passes):
    assert criterion(tolerance)(scored(wrong)).passes == passes


def test_the_interval_is_that_of_the_paired_difference():
    evaluation = criterion()(scored(60))
    assert evaluation.difference == pytest.approx(-0.05)
    low, high = evaluation.difference_ci
    # 20 of 400 texts differ: a standard error of about 1.1 points, far less than two unpaired accuracies have.
    assert low == pytest.approx(-0.05 - 1.645 * 0.0109, abs=0.004)
    assert high == pytest.approx(-0.05 + 1.645 * 0.0109, abs=0.004)


def test_damage_that_the_metric_missed_by_luck_is_seen_in_the_loss():
    evaluation = criterion()(scored(38, loss=0.35, spread=0.06))
    assert evaluation.difference > 0
    assert evaluation.loss_increase == pytest.approx(0.05, abs=0.001)
    assert not evaluation.passes


def test_doubt_lets_nothing_through():
    rise = 0.002 + 0.1 * np.sin(3 * np.arange(TEXTS))
    evaluation = criterion()(ScoredPredictions(scored(40).predictions, scored(40).losses + rise))
    assert evaluation.loss_increase > 0
    assert evaluation.loss_increase < 1.645 * rise.std() / TEXTS**0.5, "chance explains it"
    assert not evaluation.passes


def test_tolerance_gives_the_loss_its_share():
    # One point of a full model that errs ten: a tenth of its loss of 0.3.
    assert criterion(0.01)(scored(42, loss=0.329)).passes
    assert not criterion(0.01)(scored(42, loss=0.332)).passes


def test_a_small_rise_of_the_loss_may_be_allowed():
    rising = scored(40, loss=0.31)
    assert not criterion()(rising).passes
    assert criterion(max_loss_increase=0.1)(rising).passes
    assert not criterion(max_loss_increase=0.1)(scored(40, loss=0.335)).passes


def test_clearly_worse_is_what_chance_does_not_explain():
    ours = criterion()
    assert not ours.clearly_worse(ours(scored(41)))
    assert ours.clearly_worse(ours(scored(70)))
    assert not criterion(0.1).clearly_worse(criterion(0.1)(scored(70)))
