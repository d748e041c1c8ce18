"""Predictions follow what the clock shows."""

import pytest
from helpers.simulated_server import BATCH, SPEEDUPS, seconds, table

from latadj.server.corrected_times import QUIET_S, CorrectedTimes
from latadj.server.time_fit import BatchTimes


@pytest.fixture
def times():
    return CorrectedTimes(SPEEDUPS, BatchTimes.predicted(table(), BATCH))


def predicted(times, place, lengths):
    return times.call(place) + sum(times.text(place, length) for length in lengths)


def feed(times, slowdowns, lengths=(20, 20, 20), start=0.0):
    for number, slowdown in enumerate(slowdowns):
        times.observe(0, lengths, slowdown * seconds(list(lengths), 1.0), start + 0.01 * number)


@pytest.mark.parametrize("lengths", [[20] * 8, [1], [7, 90, 512]])
def test_a_batch_is_the_sum_of_its_call_and_its_texts(times, lengths):
    assert predicted(times, 0, lengths) == pytest.approx(seconds(lengths, 1.0))
    assert predicted(times, 32, lengths) == pytest.approx(seconds(lengths, 5.0))


def test_a_text_beyond_the_longest_takes_as_long_as_it(times):
    assert times.text(0, 5000) == times.text(0, 512)


def test_a_slower_machine_is_noticed_within_five_batches(times):
    feed(times, [1.0] * 20)
    assert times.correction == pytest.approx(1.0, abs=0.01)
    feed(times, [2.0] * 5)
    assert times.correction > 1.85


def test_one_slow_batch_is_an_accident(times):
    feed(times, [1.0] * 20)
    feed(times, [6.0, 1.0, 1.0])
    assert times.correction == pytest.approx(1.0, abs=0.01)


def test_a_machine_that_is_free_again_is_believed_within_a_dozen_batches(times):
    feed(times, [2.0] * 20)
    feed(times, [1.0] * 12)
    assert times.correction < 1.1


def test_most_batches_are_within_the_factor(times):
    feed(times, [1.0, 1.2] * 50)
    assert times.typical(3) < times.factor(3)
    assert 1.1 < times.factor(3) < 1.6


def test_sizes_of_batches_are_told_apart(times):
    for _ in range(300):
        feed(times, [1.0], lengths=[20] * 8)
        feed(times, [1.5], lengths=[20])
    assert times.typical(1) / times.typical(8) == pytest.approx(1.5, rel=0.1)


def test_what_was_known_of_a_busy_machine_is_forgotten(times):
    feed(times, [3.0] * 20)
    times.settle(0.2)
    assert times.correction > 2.8
    times.settle(0.2 + 6 * QUIET_S)
    assert times.correction < 1.1
