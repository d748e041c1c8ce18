"""A dial whose levels change along it: every speedup is met, by the widest level that the search chose for it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from latadj.elimination.cost import LayerShape, shapes_at
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp, level_shares
from latadj.elimination.level_dials import at_level, level_gain, levels_of, with_levels
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Anchor, Profile
from latadj.utils.serialization import structure, unstructure

SHAPE = LayerShape(query=6400, key_value=12800, output=6400, feed_forward=51200, attention=80, heads=8, neurons=320)
DIAL = Dial(
    layer_acc=(0.9, 0.8, 0.7, 0.6), lengths=(20, 30, 40), shapes=(SHAPE,) * 4, widths=(0.75, 0.5, 0.25), reads="all"
)
MIXED = with_levels(DIAL, [1.5, 2, 3, 4, 5])


def test_levels_are_shares_of_every_layer_in_whole_heads_and_groups_of_neurons():
    assert levels_of(DIAL, DIAL.widths) == [
        Level((6,) * 4, (234,) * 4),
        Level((4,) * 4, (156,) * 4),
        Level((2,) * 4, (78,) * 4),
    ]
    assert levels_of(DIAL, [0.001]) == [Level((1,) * 4, (13,) * 4)]


@pytest.mark.parametrize("place", [None, 0, 2])
def test_a_profile_at_a_level_has_the_speedup_that_was_asked_for(place):
    level = None if place is None else levels_of(DIAL, DIAL.widths)[place]
    profile = at_level(DIAL, level, 4.5)
    assert profile.level == level
    assert DIAL.speedup_of(profile) == pytest.approx(4.5, rel=0.03)
    assert at_level(DIAL, level, 1.0).eliminates is False


def test_levels_of_a_rule_of_thumb_become_narrower_along_the_dial():
    gains = [level_gain(DIAL, anchor.level) for anchor in MIXED.anchors]
    assert gains == sorted(gains)
    assert len(set(gains)) == 2


@pytest.mark.parametrize("speedup", np.linspace(1.1, 5, 27).round(2).tolist())
def test_every_speedup_of_a_dial_with_levels_is_met(speedup):
    assert MIXED.predicted(MIXED.profile(speedup)) == pytest.approx(speedup, rel=0.05)


def test_levels_and_costs_rise_along_the_dial():
    profiles = [MIXED.profile(speedup) for speedup in np.linspace(1, 5, 60)]
    gains = [level_gain(MIXED, profile.level) for profile in profiles]
    assert all(after >= before for before, after in pairwise(gains))


@pytest.mark.parametrize("level", [None, levels_of(DIAL, [0.5])[0]], ids=["whole", "level"])
def test_a_searched_profile_is_met_as_it_was_found(level):
    keep = (0.77, 0.53, 0.53, 0.31)
    speedup = DIAL.speedup_of(Profile(keep, 3.0, level))
    dial = replace(DIAL, profile_type="searched", anchors=(Anchor(speedup, keep, 3.0, level),))
    assert dial.profile(speedup).keep == pytest.approx(keep, rel=1e-9)
    assert dial.profile(speedup).short_length == pytest.approx(3.0, rel=1e-9)


def test_a_level_that_is_too_fast_with_all_its_tokens_waits():
    narrow = levels_of(DIAL, [0.25])[0]
    anchors = (Anchor(1.5, DIAL.with_profile_type("acc").profile(1.5).keep), Anchor(4.5, (0.9,) * 4, level=narrow))
    dial = replace(DIAL, profile_type="searched", anchors=anchors)
    assert level_gain(dial, narrow) > 3.5
    before = dial.profile(2.0)
    assert before.level is None
    assert dial.predicted(before) == pytest.approx(2.0, rel=0.02)
    assert dial.profile(4.2).level == narrow


def test_a_dial_with_levels_is_read_as_it_was_written():
    assert structure(Dial, unstructure(MIXED)) == MIXED
    old = {name: value for name, value in unstructure(DIAL).items() if name != "widths"}
    old["shapes"] = [{k: v for k, v in shape.items() if k not in ("heads", "neurons")} for shape in old["shapes"]]
    read = structure(Dial, old)
    assert read.levels == [] and read.profile(2.0).level is None
    with pytest.raises(ValueError, match="does not know the heads and neurons"):
        levels_of(read, [0.5])


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([Level((4,) * 4, (160,) * 4), Level((5,) * 4, (80,) * 4)], "levels must be nested"),
        ([Level((4,) * 4, (160,) * 4), None], "levels must be nested"),
        ([Level((9,) * 4, (160,) * 4)], "9 heads and 160 neurons, in a layer of 8 and 320"),
        ([Level((4,) * 3, (160,) * 3)], "a level of 3 layers beside 4 keep ratios"),
    ],
    ids=["wider again", "whole again", "beyond the model", "other layers"],
)
def test_levels_that_do_not_fit_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        replace(
            DIAL,
            profile_type="searched",
            anchors=tuple(Anchor(2.0 + place, (0.5,) * 4, level=level) for place, level in enumerate(levels)),
        )


def test_other_profile_types_of_a_dial_with_levels_use_the_whole_model():
    assert MIXED.with_profile_type("geometric").profile(2.0).level is None


def test_time_falls_with_width_but_for_what_calls_cost():
    ramp = Ramp(1.0, (1.0, 64.0), (3.0,))
    latency = LatencyModel(batch=1, entering=ramp, choosing=ramp, leaving=ramp, last=ramp, outside=ramp)
    level = Level((4, 4, 0, 8), (160, 160, 0, 320))
    shares = level_shares(DIAL.shapes, level)
    assert shares == [(0.5, pytest.approx(0.5)), (0.5, pytest.approx(0.5)), (0.0, 0.0), (1.0, 1.0)]
    profile = Profile((1.0,) * 4, level=level)
    whole = latency.seconds(Profile.full(4), np.array([64]), "all")[0]
    narrow = latency.seconds(profile, np.array([64]), "all", shares=shares)[0]
    # Of eight parts of 4 seconds each, four cost 1 + 3/2, two nothing; what stands outside the layers costs 4.
    assert whole == pytest.approx(36)
    assert narrow == pytest.approx(4 + 4 * 2.5 + 2 * 4)
    timed = DIAL.on(latency)
    assert timed.predicted(profile) > 1.0
    assert len(shapes_at(DIAL.shapes, level)) == 4


def test_a_speedup_that_the_last_level_does_not_reach_is_met_by_one_before_it():
    narrow = levels_of(DIAL, [0.25])[0]
    anchors = (Anchor(2.0, DIAL.with_profile_type("acc").profile(2.0).keep), Anchor(3.9, (1.0,) * 4, level=narrow))
    dial = replace(DIAL, profile_type="searched", anchors=anchors, max_flops=4.2)
    slower = replace(dial, anchors=anchors[:1])
    far = min(slower.reach(), dial.reach()) * 0.999
    assert dial.predicted(dial.profile(far)) == pytest.approx(far, rel=0.02)
