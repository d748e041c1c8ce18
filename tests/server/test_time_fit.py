"""What batches take, fitted to batches that were timed."""

import numpy as np
import pytest
from helpers.simulated_server import BATCH, SPEEDUPS, table

from latadj.server.time_fit import BatchTimes, TimedBatch

PREDICTED = BatchTimes.predicted(table(), BATCH)
LAST = len(SPEEDUPS) - 1


def timed(seconds, sizes=(1, 2, 4, 8, 16), places=(0, 16, LAST), noise=0.0):
    rng = np.random.default_rng(0)
    batches = [(place, rng.integers(5, 60, size).tolist()) for place in places for size in sizes for _ in range(4)]
    return [
        TimedBatch(place, lengths, seconds(place, lengths) * float(np.exp(noise * rng.normal())))
        for place, lengths in batches
    ]


def slower_calls(place, lengths):
    """Calls take five times as long as was predicted, and texts half as much again."""
    texts = sum(PREDICTED.text[place, length - 1] for length in lengths)
    return 5 * PREDICTED.call[place] + 1.5 * texts


@pytest.mark.parametrize("place", [0, 5, 16, LAST])
@pytest.mark.parametrize("lengths", [[7], [20, 30, 40], [25] * 20])
def test_a_call_and_its_texts_are_told_apart(place, lengths):
    found = PREDICTED.fitted(timed(slower_calls))
    assert found.seconds(place, lengths) == pytest.approx(slower_calls(place, lengths), rel=0.02)
    assert found.spread < 0.01


def test_noise_is_seen_as_spread():
    found = PREDICTED.fitted(timed(slower_calls, noise=0.2))
    assert found.seconds(16, [25] * 8) == pytest.approx(slower_calls(16, [25] * 8), rel=0.15)
    assert 0.05 < found.spread < 0.3


def test_a_size_that_takes_longer_than_others_is_remembered():
    found = PREDICTED.fitted(
        timed(lambda place, lengths: slower_calls(place, lengths) * (2 if len(lengths) == 1 else 1))
    )
    alone = found.seconds(16, [25]) / slower_calls(16, [25])
    many = found.seconds(16, [25] * 16) / slower_calls(16, [25] * 16)
    assert alone > 1.3 * many


def test_batches_of_one_size_say_how_long_their_texts_take():
    found = PREDICTED.fitted(timed(lambda place, lengths: 3 * slower_calls(place, lengths), sizes=(4,)))
    assert found.seconds(0, [30] * 4) == pytest.approx(3 * slower_calls(0, [30] * 4), rel=0.15)


def test_without_batches_the_prediction_stays():
    assert PREDICTED.fitted([]) is PREDICTED


def test_processes_are_averaged():
    slow = PREDICTED.fitted(timed(lambda place, lengths: 3 * slower_calls(place, lengths)))
    fast = PREDICTED.fitted(timed(slower_calls))
    assert fast.together([slow]).seconds(16, [25] * 4) == pytest.approx(2 * slower_calls(16, [25] * 4), rel=0.05)
