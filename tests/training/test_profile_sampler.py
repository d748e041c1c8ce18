"""What a step of adjustable fine-tuning runs: the full model, or fewer tokens, narrower layers, or both."""

import random
import re

import numpy as np
import pytest

from latadj.config import AdjustConfig
from latadj.devices import ranks
from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import level_gain, levels_of
from latadj.elimination.profiles import Profile
from latadj.training.objective import ProfileSampler

SHAPE = LayerShape(query=1024, key_value=2048, output=1024, feed_forward=8192, attention=32, heads=4, neurons=48)
DIAL = Dial(layer_acc=(0.8,) * 4, lengths=(20, 30, 40), shapes=(SHAPE,) * 4, widths=(0.75, 0.5, 0.25))


def drawn(axes, count=200, dial=DIAL):
    random.seed(0)
    sampler = ProfileSampler(dial, AdjustConfig(axes=axes, widths=list(dial.widths), full_share=None))
    return [sampler.draw() for _ in range(count)]


@pytest.mark.parametrize(
    ("axes", "narrows", "eliminates"),
    [(["tokens"], False, True), (["width"], True, False), (["tokens", "width"], True, True)],
    ids=["tokens", "width", "both"],
)
def test_each_axis_is_drawn_where_it_is_named_and_nowhere_else(axes, narrows, eliminates):
    profiles = drawn(axes)
    assert any(profile.level is not None for profile in profiles) == narrows
    assert any(profile.eliminates for profile in profiles) == eliminates
    assert any(profile.level is None for profile in profiles) == ("tokens" in axes)


def test_levels_are_the_trained_widths_and_mixtures_of_neighbours_and_sometimes_leave_a_layer_out():
    levels = {profile.level for profile in drawn(["tokens", "width"]) if profile.level is not None}
    assert set(levels_of(DIAL, DIAL.widths)) < levels
    assert {heads for level in levels for heads in level.heads} == {0, 1, 2, 3, 4}
    assert any(level.leaves_out(layer) for level in levels for layer in range(DIAL.layers))
    for level in levels:
        assert sum(level.leaves_out(layer) for layer in range(DIAL.layers)) <= 1
        assert min(level.heads[-1], level.neurons[-1]) > 0
        assert level_gain(DIAL, level) <= 10.0


def test_speedups_are_what_tokens_and_width_give_together_and_go_as_far_as_their_time_asks_for():
    speedups = [DIAL.speedup_of(profile) for profile in drawn(["tokens", "width"], 300)]
    assert min(speedups) >= 1.0 and 8.0 < max(speedups) < 13.0  # trimming the last layer comes on top of a level
    tokens = [DIAL.speedup_of(profile) for profile in drawn(["tokens"], 300)]
    assert 4.0 < max(tokens) < 5.3
    assert np.median(speedups) > np.median(tokens)


def test_a_share_of_the_steps_runs_the_full_model():
    random.seed(0)
    sampler = ProfileSampler(DIAL, AdjustConfig(axes=["tokens", "width"], full_share=0.25))
    steps = [sampler.passes() for _ in range(400)]
    assert all(len(profiles) == 1 for profiles in steps)
    assert 60 < sum(profiles == [Profile.full(4)] for profiles in steps) < 140


def test_of_several_processes_the_first_draws_for_all(monkeypatch):
    random.seed(0)
    sampler = ProfileSampler(DIAL, AdjustConfig(axes=["tokens", "width"]))
    first = sampler.passes()
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    monkeypatch.setattr(ranks, "agreed", lambda value: first if value is None else value)
    random.seed(1)  # whatever has been drawn from it here
    assert sampler.passes() == first


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
