"""The smallest speedup that meets a deadline, by a latency model that was written by hand."""

import numpy as np
import pytest
import torch
from conftest import tiny_bert
from helpers.measured_drops import with_drops
from helpers.tiny_models import batch_of, dial_for

from latadj.elimination.attach import attach, attached
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.inference import deadline
from latadj.inference.deadline import Deadline
from latadj.inference.deadline_counts import DeadlineCounts
from latadj.inference.predicted_times import FEWEST

LINE = (1.0, 64.0)
NONE = Ramp(0.0, LINE, (0.0,))
# 8 sequences: 2 ms, and a millisecond for each token that leaves each of the first three layers.
CLOCK = LatencyModel(
    batch=8,
    entering=NONE,
    choosing=NONE,
    leaving=Ramp(1e-3, LINE, (63e-3,)),
    last=NONE,
    outside=Ramp(2e-3, LINE, (0.0,)),
)


@pytest.fixture
def model():
    model = attach(tiny_bert())
    return attach(model, dial_for(model, max_speedup=3.0).on(CLOCK))


@pytest.fixture
def clock(monkeypatch):
    """A clock whose passes take what they are told to."""

    class Clock:
        now, takes = 0.0, 0.0

        def perf_counter(self):
            self.now += self.takes
            return self.now

    clock = Clock()
    monkeypatch.setattr(deadline.time, "perf_counter", clock.perf_counter)
    return clock


def test_a_batch_of_the_measured_size_and_one_length_is_predicted_as_it_was_measured(model):
    found = Deadline(model, 1000.0)
    expected = [CLOCK.seconds(profile, [20], "pooled")[0] for profile in found.profiles]
    assert found.predicted([20] * 8) == pytest.approx(expected)
    assert expected[0] == pytest.approx(2e-3 + 3 * 20e-3)


def test_lengths_count_by_their_mean_and_texts_by_their_number(model):
    found = Deadline(model, 1000.0)
    assert found.predicted([10, 30] * 4) == pytest.approx(found.predicted([20] * 8), rel=0.05)
    fixed = found.predicted([1])[0]
    assert found.predicted([20] * 8)[0] - fixed == pytest.approx(2 * (found.predicted([20] * 4)[0] - fixed))
    assert found.predicted([20] * 16)[0] > found.predicted([20] * 8)[0]


def test_speedups_go_from_one_to_what_the_dial_reaches(model):
    found = Deadline(model, 1000.0)
    assert found.speedups[0] == 1.0
    assert found.speedups[-1] == pytest.approx(attached(model).dial.reach())
    assert (np.diff(found.speedups) > 0).all()
    assert all(a.keep >= b.keep for a, b in zip(found.profiles, found.profiles[1:], strict=False))


@pytest.mark.parametrize("share", [1.01, 0.8, 0.55, 0.1])
def test_the_smallest_speedup_that_meets_it_is_taken(model, clock, share):
    lengths = [20] * 8
    full = Deadline(model, 1000.0).predicted(lengths)[0]
    found = Deadline(model, 1000 * share * full)
    predicted = found.predicted(lengths)
    with found(lengths), torch.inference_mode():
        model(**batch_of(lengths))
    (speedup,) = found.counts.speedups
    place = [f"{one:.2f}" for one in found.speedups].index(speedup)
    if share == 0.1:
        assert place == len(found.speedups) - 1
        assert (found.counts.beyond_batches, found.counts.beyond_texts) == (1, 8)
    else:
        assert predicted[place] <= share * full
        assert place == 0 or predicted[place - 1] > share * full
        assert found.counts.beyond_batches == 0
    assert (place == 0) == (share > 1)


def test_the_model_runs_at_the_speedup_that_was_picked(model):
    seen = []
    handle = model.bert.encoder.layer[2].register_forward_hook(lambda *call: seen.append(call[2].shape[1]))
    for seconds in (10.0, 1e-6):
        with Deadline(model, 1000 * seconds)([20] * 8), torch.inference_mode():
            model(**batch_of([20] * 8))
    handle.remove()
    assert seen[0] == 20
    assert seen[1] < 20


@pytest.mark.parametrize(("takes", "met", "late"), [(0.05, 1, 0), (0.2, 0, 1)])
def test_what_the_clock_says_is_counted(model, clock, takes, met, late):
    found = Deadline(model, 100.0)
    clock.takes = takes
    with found([20] * 8):
        pass
    counted = found.counts
    assert (counted.batches, counted.texts, counted.met_batches, counted.late_batches) == (1, 8, met, late)
    assert (counted.met_texts, counted.late_texts, counted.measured_s) == (8 * met, 8 * late, pytest.approx(takes))
    assert counted.predicted_s == pytest.approx(62e-3)


def test_counting_goes_on_after_an_interruption(model, clock):
    first = Deadline(model, 1000.0)
    with first([20] * 8):
        pass
    second = Deadline(model, 1000.0, counts=DeadlineCounts(**first.counts.to_json()))
    with second([20] * 3):
        pass
    assert (second.counts.batches, second.counts.texts, second.counts.speedups) == (2, 11, {"1.00": 11})


def test_a_dial_in_flops_is_refused():
    model = tiny_bert()
    with pytest.raises(ValueError, match="marked in latency"):
        Deadline(attach(model, dial_for(model)), 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"ms": 0}, "ms=0"), ({"ms": 1, "quantile": 1.0}, "quantile=1.0"), ({"ms": 1, "max_speedup": 0.5}, "max_speedup")],
)
def test_numbers_out_of_range_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        Deadline(model, **options)


def test_a_largest_speedup_is_never_exceeded(model):
    found = Deadline(model, 1e-3, max_speedup=1.5)
    assert found.speedups[-1] == pytest.approx(1.5)
    with found([20] * 8) as speedup:
        assert speedup == pytest.approx(1.5)


@pytest.mark.parametrize("confident", [False, True])
def test_a_largest_drop_limits_the_speedup(model, confident):
    flops = dial_for(model, max_speedup=3.0)
    dial = with_drops(flops, {1.0: 0.0, flops.reach(): 2.0}).on(CLOCK)
    attach(model, dial)
    found = Deadline(model, 1e-3, max_drop=1.0, confident=confident)
    assert 1 < found.speedups[-1] == pytest.approx(dial.within(1.0, confident))
    assert Deadline(model, 1e-3, max_drop=1.0, max_speedup=1.05).speedups[-1] == pytest.approx(1.05)


def settle(found, size, ratios):
    """Batches of a size that took so many times what was predicted."""
    for ratio in ratios:
        found.remember(size, ratio)


def test_a_margin_covers_the_quantile_of_what_batches_of_the_size_took(model):
    found = Deadline(model, 1000.0, quantile=0.9)
    settle(found, 8, np.linspace(1.0, 2.0, 101))
    assert found.margin(8) == found.margin(5) == pytest.approx(1.91)  # a new one is below it nine times out of ten
    assert found.margin(1) == found.margin(8)  # until batches of one have run
    settle(found, 1, [3.0] * FEWEST)
    assert found.margin(1) == 3.0
    assert found.margin(8) == pytest.approx(1.91)


def test_late_batches_raise_the_speedup_of_the_next(model, clock):
    lengths = [20] * 8
    found = Deadline(model, 1100 * Deadline(model, 1000.0).predicted(lengths)[0])
    speedups = []
    for times in (1.0, 1.3):
        for _ in range(300):
            with found(lengths) as speedup:
                place = found.speedups.index(speedup)
                clock.takes = times * float(found.predicted(lengths)[place])
        speedups.append(speedup)
    assert speedups[0] == 1.0
    assert speedups[1] > 1.15
    assert found.counts.met_share > 0.9


def test_few_texts_run_at_a_time_rather_than_at_a_large_speedup(model):
    lengths = [20] * 16
    eight = float(Deadline(model, 1000.0).predicted(lengths[:8])[0])
    found = Deadline(model, 1000 * eight * 1.01)
    settle(found, 16, [1.0] * FEWEST)
    assert [len(places) for places in found.batches(lengths, most=16)] == [8, 8]
    generous = Deadline(model, 1000 * eight * 3)
    settle(generous, 16, [1.0] * FEWEST)
    assert [len(places) for places in generous.batches(lengths, most=16)] == [16]


def test_batches_hold_every_text_once_shortest_first(model):
    lengths = np.random.default_rng(0).integers(1, 60, 100)
    found = Deadline(model, 25.0)
    settle(found, 8, [1.0] * FEWEST)
    places = np.concatenate(list(found.batches(lengths.tolist(), most=8)))
    assert sorted(places) == list(range(100))
    assert (np.diff(lengths[places]) >= 0).all()


def test_what_cannot_be_met_is_said_before_the_first_batch_and_runs_alone(model, caplog):
    found = Deadline(model, 1e-3)
    sizes = [len(places) for places in found.batches([20] * 5, most=4)]
    assert sizes == [1] * 5
    assert "cannot be met for texts of 20 tokens and more, 100% of the texts" in caplog.text
    assert found.counts.batches == 0  # measuring itself does not count
