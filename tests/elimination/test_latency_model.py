import json
from dataclasses import replace

import numpy as np
import pytest

from latadj.elimination.cost import ALL, POOLED, LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp, scales_of
from latadj.elimination.profiles import Anchor, Profile
from latadj.utils.serialization import structure, unstructure

SHAPE = LayerShape(query=16, key_value=32, output=16, feed_forward=128, attention=4)
LAYERS = 6
PROFILE_TYPES = ["geometric", "acc", "searched"]


def ramp(base, per_word_vector):
    """A straight line with knots at 1, 8 and 64."""
    return Ramp(base, (1.0, 8.0, 64.0), (7 * per_word_vector, 56 * per_word_vector))


# A pass of which four fifths go with the tokens, and a fifth is the same for all.
LATENCY = LatencyModel(
    batch=4,
    entering=ramp(1e-4, 5e-6),
    choosing=ramp(2e-5, 1e-7),
    leaving=ramp(5e-5, 1e-5),
    last=ramp(1e-4, 1e-6),
    outside=ramp(3e-5, 1e-7),
    error=0.02,
)


def dial(**options):
    found = {
        "layer_acc": (0.95, 0.9, 0.8, 0.7, 0.6, 0.5),
        # Many lengths, so that keep ratios, and with them time, go up in small steps.
        "lengths": tuple(range(20, 420)),
        "shapes": (SHAPE,) * LAYERS,
        "anchors": (
            Anchor(2.0, (1, 0.8, 0.5, 0.3, 0.2, 0.2)),
            Anchor(4.0, (0.5, 0.3, 0.2, 0.1, 0.1, 0.1)),
        ),
        "max_flops": 12.0,
    }
    return Dial(**{**found, **options}).on(LATENCY)


def test_a_ramp_is_straight_between_knots_and_goes_on_past_the_last():
    found = Ramp(1.0, (1.0, 3.0, 7.0), (2.0, 1.0))
    counts = np.array([0, 1, 2, 3, 5, 7, 11, 27])
    assert found(counts).tolist() == [1.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0, 9.0]


@pytest.mark.parametrize("rises", [(0.0, 0.0), (0.0, 3.0), (3.0, 0.0), (1.0, 2.0)])
def test_a_ramp_never_falls(rises):
    heights = Ramp(0.5, (1.0, 16.0, 128.0), rises)(np.arange(1, 1000))
    assert (np.diff(heights) >= -1e-12).all()


def flat(value):
    return Ramp(value, (1.0, 2.0), (0.0,))


def test_the_seconds_of_a_pass_by_hand():
    per_count = Ramp(0.0, (1.0, 2.0), (1.0,))  # n tokens take n - 1
    model = LatencyModel(
        1, entering=per_count, choosing=flat(100.0), leaving=flat(1000.0), last=flat(0.5), outside=flat(0.25)
    )
    lengths = np.array([10, 4])
    # 10 -> 5 -> 5 -> 1 and 4 -> 2 -> 2 -> 1: the first layer chooses, the second does not, the last is trimmed.
    expected = [(9 + 100 + 1000) + (4 + 1000) + 0.5 + 0.25, (3 + 100 + 1000) + (1 + 1000) + 0.5 + 0.25]
    assert model.seconds(Profile((0.5, 0.5, 0.5)), lengths, POOLED) == pytest.approx(expected)
    # Where every position is read, the last layer is one like the others.
    expected = [(9 + 100 + 1000) + (4 + 1000) + (4 + 1000) + 0.25, (3 + 100 + 1000) + (1 + 1000) + (1 + 1000) + 0.25]
    assert model.seconds(Profile((0.5, 0.5, 0.5)), lengths, ALL) == pytest.approx(expected)


@pytest.mark.parametrize("scales", [(), ((1.0, 0.5), (0.0, 1.0), (1.0, 1.0))], ids=["alike", "pruned"])
def test_a_latency_model_survives_json(scales):
    latency = replace(LATENCY, scales=scales)
    assert structure(LatencyModel, json.loads(json.dumps(unstructure(latency)))) == latency


def test_scales_are_shares_of_the_largest_layer():
    assert scales_of([SHAPE, SHAPE]) == ()
    assert scales_of([SHAPE, replace(SHAPE, query=0, key_value=0, output=0, attention=0, feed_forward=72)]) == (
        (1.0, 1.0),
        (0.0, 0.5),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"batch": None},
        {"error": "small"},
        {"last": None},
        {"entering": {"base": 1.0}},
        {"outside": {"base": 0.0, "knots": [1.0, 2.0], "rises": ["steep"]}},
        {"outside": {"base": 0.0, "knots": [1.0, 2.0], "rises": []}},
        {"outside": {"base": 0.0, "knots": [1.0], "rises": []}},
        {"outside": {"base": 0.0, "knots": [2.0, 1.0], "rises": [1.0]}},
        {"outside": {"base": 0.0, "knots": [1.0, 2.0], "rises": [-1.0]}},
        {"outside": {"base": float("nan"), "knots": [1.0, 2.0], "rises": [1.0]}},
    ],
)
def test_a_damaged_latency_model_is_refused(change):
    data = unstructure(LATENCY)
    with pytest.raises(ValueError, match="|".join((*change, "ramp"))):
        structure(LatencyModel, {**data, **change})
    if "error" not in change:  # the only one of them with a default
        with pytest.raises(ValueError, match="required field missing"):
            structure(LatencyModel, {key: value for key, value in data.items() if key not in change})


@pytest.mark.parametrize("profile_type", PROFILE_TYPES)
@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("speedup", [1.5, 2.0, 3.0])
def test_asking_for_a_speedup_in_time_gives_it(profile_type, every, speedup):
    found = dial(profile_type=profile_type, every=every)
    assert found.target == "latency"
    assert found.predicted(found.profile(speedup)) == pytest.approx(speedup, rel=1e-3)


def test_speedup_one_eliminates_nothing_and_is_what_time_counts_from():
    found = dial()
    assert not found.profile(1).eliminates
    assert found.predicted(Profile.full(LAYERS)) == 1.0
    assert found.speedup_of(Profile.full(LAYERS)) > 1.1


def test_a_predicted_speedup_is_total_time_over_total_time():
    found, cut = dial(lengths=(40, 200)), Profile((0.8, 0.6, 0.4, 0.3, 0.2, 0.1))
    full, less = (LATENCY.seconds(one, np.array([40, 200]), POOLED).sum() for one in (Profile.full(LAYERS), cut))
    assert found.predicted(cut) == pytest.approx(full / less)


@pytest.mark.parametrize("profile_type", PROFILE_TYPES)
def test_the_dial_reaches_to_the_quality_floor(profile_type):
    floors = [2.0, 4.0, 6.0]
    reaches = []
    for floor in floors:
        found = dial(profile_type=profile_type, max_flops=floor, max_speedup=50.0)
        reaches.append(found.reach())
        assert found.speedup_of(found.profile(found.reach())) == pytest.approx(floor, rel=0.01)
    assert 1.0 < reaches[0] < reaches[1] < reaches[2]


def test_the_dial_reaches_no_further_than_what_may_be_asked():
    assert dial(max_speedup=2.0).reach() == 2.0


def test_a_device_that_eliminating_slows_down_reaches_speedup_one():
    slow = dial().on(replace(LATENCY, choosing=ramp(1.0, 0.0)))
    assert slow.reach() == 1.0
    assert not slow.profile(1).eliminates
    assert not slow.profile(1.0005).eliminates
    with pytest.raises(ValueError, match=r"out of reach: profile=acc ends at 1.00x on this device"):
        slow.profile(1.5)


@pytest.mark.parametrize("profile_type", PROFILE_TYPES)
def test_a_speedup_beyond_the_quality_floor_is_refused_with_the_largest_there_is(profile_type):
    found = dial(profile_type=profile_type, max_flops=6.0, max_speedup=50.0)
    reach = found.reach()
    assert found.predicted(found.profile(reach)) == pytest.approx(reach, rel=1e-3)
    message = rf"speedup=20 is out of reach: profile={profile_type} ends at {reach:.2f}x on this device at batch 4"
    with pytest.raises(ValueError, match=rf"{message}, where FLOPs are cut 6.0x; ask for less, or take dial.target=fl"):
        found.profile(20)


@pytest.mark.parametrize("profile_type", PROFILE_TYPES)
@pytest.mark.parametrize(("every", "steps"), [(2, {0, 2, 4}), (3, {0, 3}), (4, {0, 4}), (6, {0}), (9, {0})])
@pytest.mark.parametrize("marked", [True, False], ids=["time", "flops"])
def test_stairs_change_at_the_first_layer_of_each_group_only(profile_type, every, steps, marked):
    found = dial(profile_type=profile_type, every=every, max_flops=100.0)
    keep = np.array([1.0, *(found if marked else replace(found, latency=None)).profile(3.0).keep])
    assert set(np.flatnonzero(np.diff(keep))) == steps


def test_a_workload_of_other_lengths_has_a_dial_of_its_own():
    found = dial()
    short = found.on(LATENCY, [8])
    assert (short.lengths, found.on(LATENCY).lengths) == ((8,), found.lengths)
    assert short.reach() < found.reach()


def test_the_json_of_a_dial_leaves_the_device_out():
    found = dial(every=3, max_flops=9.0)
    data = json.loads(json.dumps(unstructure(found)))
    assert "latency" not in data
    assert structure(Dial, data) == replace(found, latency=None)
    assert structure(Dial, data).on(LATENCY) == found


def test_a_dial_from_before_stairs_and_floors_is_read():
    data = unstructure(dial())
    del data["every"], data["max_flops"]
    found = structure(Dial, data)
    assert (found.every, found.max_flops) == (1, 8.0)
