"""What a step of adjustable fine-tuning runs: the full model, or fewer tokens, narrower layers, or both."""

import random
import re

import pytest

from latadj.config import AdjustConfig
from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.training.objective import ProfileSampler

SHAPE = LayerShape(query=1024, key_value=2048, output=1024, feed_forward=8192, attention=32, heads=4, neurons=48)
DIAL = Dial(layer_acc=(0.8,) * 4, lengths=(20, 30, 40), shapes=(SHAPE,) * 4, widths=(0.75, 0.5, 0.25))


def drawn(axes, count=200, dial=DIAL):
    random.seed(0)
    sampler = ProfileSampler(dial, AdjustConfig(axes=axes, widths=list(dial.widths), full_share=None))
    return [sampler.draw() for _ in range(count)]


@pytest.mark.parametrize(
    ("axes", "levels", "eliminates"),
    [(["tokens"], 1, True), (["width"], 3, False), (["tokens", "width"], 4, True)],
    ids=["tokens", "width", "both"],
)
def test_each_axis_is_drawn_where_it_is_named_and_nowhere_else(axes, levels, eliminates):
    profiles = drawn(axes)
    assert len({profile.level for profile in profiles}) == levels
    assert any(profile.eliminates for profile in profiles) == eliminates
    assert (None in {profile.level for profile in profiles}) == ("tokens" in axes)


def test_speedups_are_what_tokens_and_width_give_together():
    speedups = [DIAL.speedup_of(profile) for profile in drawn(["tokens", "width"])]
    assert min(speedups) >= 1.0 and 4.0 < max(speedups) < 5.3
    whole = [DIAL.speedup_of(profile) for profile in drawn(["tokens"])]
    assert sorted(speedups)[100] == pytest.approx(sorted(whole)[100], rel=0.25)


def test_a_share_of_the_steps_runs_the_full_model():
    random.seed(0)
    sampler = ProfileSampler(DIAL, AdjustConfig(axes=["tokens", "width"], full_share=0.25))
    steps = [sampler.passes() for _ in range(400)]
    assert all(len(profiles) == 1 for profiles in steps)
    assert 60 < sum(profiles == [Profile.full(4)] for profiles in steps) < 140


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": []}, r"axes=\[\]: expected some of tokens, width"),
        ({"axes": ["depth"]}, "expected some of tokens, width"),
        ({"axes": ["width"], "widths": []}, r"widths=\[\]: expected at least one share"),
        ({"axes": ["width"], "widths": [1.0]}, "expected shares above 0 and below 1"),
    ],
)
def test_axes_and_widths_that_cannot_be_trained_are_refused(options, message):
    assert any(re.search(message, problem) for problem in AdjustConfig(**options).problems())
