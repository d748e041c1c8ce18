import numpy as np
import pytest

from latadj.pruning.acceptance import AcceptanceCriterion, Answers

TEXTS = 400
RIGHT = np.arange(TEXTS) % 2


def answers(wrong, loss=0.3, spread=0.05):
    """So many texts wrong, from the last on; losses around ``loss``."""
    predictions = RIGHT.copy()
    if wrong:
        predictions[-wrong:] = 1 - predictions[-wrong:]
    return Answers(predictions, loss + spread * np.sin(np.arange(TEXTS)))


def judge(tolerance=0.0, wrong=40, max_loss_increase=0.0):
    full = answers(wrong)
    return AcceptanceCriterion(
        "accuracy", RIGHT, full, tolerance=tolerance, confidence=0.9, max_loss_increase=max_loss_increase, seed=0
    )


def test_the_same_answers_pass_at_no_tolerance():
    verdict = judge()(answers(40))
    assert verdict.passes
    assert (verdict.metric, verdict.difference, verdict.difference_ci) == (0.9, 0.0, (0.0, 0.0))
    assert verdict.loss_increase == 0.0


@pytest.mark.parametrize(
    ("tolerance", "wrong", "passes"), [(0, 39, True), (0, 41, False), (0.01, 44, True), (0.01, 45, False)]
)
def test_the_metric_decides_to_the_text(tolerance, wrong, passes):
    assert judge(tolerance)(answers(wrong)).passes == passes


def test_the_interval_is_that_of_the_paired_difference():
    verdict = judge()(answers(60))
    assert verdict.difference == pytest.approx(-0.05)
    low, high = verdict.difference_ci
    # 20 of 400 texts differ: a standard error of about 1.1 points, far less than two unpaired accuracies have.
    assert low == pytest.approx(-0.05 - 1.645 * 0.0109, abs=0.004)
    assert high == pytest.approx(-0.05 + 1.645 * 0.0109, abs=0.004)


def test_damage_that_the_metric_missed_by_luck_is_seen_in_the_loss():
    verdict = judge()(answers(38, loss=0.35, spread=0.06))
    assert verdict.difference > 0
    assert verdict.loss_increase == pytest.approx(0.05, abs=0.001)
    assert not verdict.passes


def test_doubt_lets_nothing_through():
    rise = 0.002 + 0.1 * np.sin(3 * np.arange(TEXTS))
    verdict = judge()(Answers(answers(40).predictions, answers(40).losses + rise))
    assert verdict.loss_increase > 0
    assert verdict.loss_increase < 1.645 * rise.std() / TEXTS**0.5, "chance explains it"
    assert not verdict.passes


def test_tolerance_gives_the_loss_its_share():
    # One point of a full model that errs ten: a tenth of its loss of 0.3.
    assert judge(0.01)(answers(42, loss=0.329)).passes
    assert not judge(0.01)(answers(42, loss=0.332)).passes


def test_a_small_rise_of_the_loss_may_be_allowed():
    rising = answers(40, loss=0.31)
    assert not judge()(rising).passes
    assert judge(max_loss_increase=0.1)(rising).passes
    assert not judge(max_loss_increase=0.1)(answers(40, loss=0.335)).passes


def test_clearly_worse_is_what_chance_does_not_explain():
    ours = judge()
    assert not ours.clearly_worse(ours(answers(41)))
    assert ours.clearly_worse(ours(answers(70)))
    assert not judge(0.1).clearly_worse(judge(0.1)(answers(70)))
