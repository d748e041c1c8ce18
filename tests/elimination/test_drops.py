"""The largest speedup within a drop, on drops that were written by hand."""

import json

import pytest
from helpers.measured_drops import RISING, with_drops

from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.utils.serialization import structure, unstructure

DIAL = Dial((0.9, 0.8, 0.7, 0.6), tuple(range(20, 60)), (LayerShape(16, 32, 16, 128, 4, heads=4, neurons=8),) * 4)
LINE, NONE = Ramp(0.0, (1.0, 64.0), (1.0,)), Ramp(0.0, (1.0, 64.0), (0.0,))
CLOCK = LatencyModel(8, LINE, NONE, LINE, NONE, NONE)


@pytest.mark.parametrize(
    ("max_drop", "confident", "expected"), [(0.5, False, 2.0), (1.0, False, 2.5), (1.0, True, 2.0), (3.0, False, 3.5)]
)
def test_the_speedup_is_the_largest_that_stays_within_the_drop(max_drop, confident, expected):
    assert with_drops(DIAL).within(max_drop, confident) == pytest.approx(expected, abs=0.02)


def test_a_larger_speedup_that_lost_less_does_not_count_as_better():
    lucky = with_drops(DIAL, {**RISING, 3.5: 0.2})
    assert lucky.within(1.0) == pytest.approx(2.5, abs=0.02)
    assert lucky.drop_of(DIAL.profile(3.5)).drop == pytest.approx(0.015)


def test_nothing_is_promised_beyond_what_was_measured():
    assert with_drops(DIAL).within(100.0) == pytest.approx(4.0, abs=0.02)
    assert with_drops(DIAL).drop_of(DIAL.profile(4.5)) is None


@pytest.mark.parametrize("lengths", [None, tuple(range(100, 120))])
def test_a_drop_belongs_to_a_profile_whatever_the_dial_is_marked_in(lengths):
    measured, timed = with_drops(DIAL), with_drops(DIAL).on(CLOCK, lengths)
    speedup = timed.within(1.5)
    assert speedup != pytest.approx(3.0, abs=0.05)
    limit = timed.speedup_of(measured.profile(3.0))
    assert limit * 0.98 <= timed.speedup_of(timed.profile(speedup)) <= limit * (1 + 1e-9)


def test_less_than_what_is_lost_at_1x_is_refused_with_the_least():
    dial = with_drops(DIAL, {1.0: 0.25, 2.0: 0.5})
    with pytest.raises(ValueError, match=r"max_drop=0.1: at 1x .* 0.25 points .* on the mean.*ask for max_drop=0.25"):
        dial.within(0.1)
    with pytest.raises(ValueError, match=r"0.75 points already, by the upper end"):
        dial.within(0.5, confident=True)
    assert dial.within(0.25) >= 1.0


@pytest.mark.parametrize("max_drop", [-1, float("nan"), float("inf"), "much"])
def test_a_drop_that_is_no_number_of_points_is_refused(max_drop):
    with pytest.raises(ValueError, match=f"max_drop={max_drop}: expected a number of at least 0"):
        with_drops(DIAL).within(max_drop)


def test_drops_are_of_one_profile_type():
    assert with_drops(DIAL).with_profile_type("acc").drops
    other = with_drops(DIAL).with_profile_type("geometric")
    for dial in (DIAL, other):
        with pytest.raises(ValueError, match=rf"profile={dial.profile_type}.*was not measured: run `latadj calibrate`"):
            dial.within(1.0)
        assert dial.drop_of(DIAL.profile(2.0)) is None


def test_drops_survive_json_and_older_dials_have_none():
    dial = with_drops(DIAL)
    data = json.loads(json.dumps(unstructure(dial)))
    assert structure(Dial, data) == dial
    del data["drops"]
    assert structure(Dial, data) == DIAL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": {"keep": [0.5]}}, "does not have 4 keep ratios"),
        ({"drop": 30}, r"drop: 30.0: expected a number of at least -2, at most 2"),
        ({"low": 0.1, "high": 0.0}, "expected an interval's lower end first"),
        ({"profile": unstructure(Profile((1.0,) * 4, level=Level((9,) * 4, (8,) * 4)))}, "a level of 9 heads"),
    ],
)
def test_a_damaged_drop_is_refused_in_one_line(change, message):
    data = unstructure(with_drops(DIAL))
    data["drops"][1] |= change
    with pytest.raises(ValueError, match=message):
        structure(Dial, data)
