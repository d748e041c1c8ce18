from dataclasses import replace

import numpy as np
import pytest

from latadj.calibration.candidates import RandomChanges, moved
from latadj.calibration.profile_search import search_anchors, whole_length
from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.profiles import Profile

SHAPE = LayerShape(query=64, key_value=128, output=64, feed_forward=512, attention=8)
DIAL = Dial(layer_acc=(0.9, 0.8, 0.7, 0.6, 0.5), lengths=(20, 30, 40), shapes=(SHAPE,) * 5)


def early_layers_matter(profile: Profile) -> float:
    """Keeping the first two layers whole is free, everything cut there costs."""
    return float(sum((1 - ratio) for ratio in profile.keep[:2]))


def test_the_search_finds_what_the_start_profiles_do_not_know():
    (anchor,) = search_anchors(DIAL, early_layers_matter, [2.0], trials=60, seed=0)
    geometric = DIAL.with_profile_type("geometric").profile(2.0)
    assert early_layers_matter(Profile(anchor.keep)) < 0.5 * early_layers_matter(geometric)


def test_every_anchor_has_the_speedup_it_was_searched_for_and_lies_inside_the_one_before():
    anchors = search_anchors(DIAL, early_layers_matter, [3.0, 1.5, 2.0], trials=8, seed=0)
    assert [anchor.speedup for anchor in anchors] == [1.5, 2.0, 3.0]
    for anchor in anchors:
        assert anchor.speedup <= DIAL.speedup_of(Profile(anchor.keep)) < 1.05 * anchor.speedup
    assert (np.diff([anchor.keep for anchor in anchors], axis=0) <= 1e-9).all()


def test_short_length_are_searched_with_the_ratios_and_fall_along_the_dial():
    def short_texts_matter(profile: Profile) -> float:
        return float((5 - profile.counts(np.array([5]))).sum()) + 0.1 * early_layers_matter(profile)

    dial = replace(DIAL, short_length=4.0)
    anchors = search_anchors(dial, short_texts_matter, [1.5, 2.0, 3.0], trials=24, seed=0)
    assert [anchor.speedup for anchor in anchors] == [1.5, 2.0, 3.0]
    spared = [anchor.short_length for anchor in anchors]
    assert spared == sorted(spared, reverse=True)
    assert spared[1] > 4.0
    for anchor in anchors:
        assert dial.speedup_of(Profile(anchor.keep, anchor.short_length)) == pytest.approx(anchor.speedup, rel=0.05)


def test_without_short_length_none_are_searched():
    anchors = search_anchors(DIAL, early_layers_matter, [2.0], trials=8, seed=0)
    assert [anchor.short_length for anchor in anchors] == [0.0]


def test_a_strategy_chooses_what_is_tried_and_hears_what_came_of_it():
    told = []

    class Repeating(RandomChanges):
        def ask(self):
            return self._starts[-1]

        def tell(self, candidate, divergence):
            told.append((candidate, divergence))

    (anchor,) = search_anchors(DIAL, early_layers_matter, [2.0], trials=3, seed=0, strategy=Repeating)
    assert len(told) == 3 and {divergence for _, divergence in told} == {early_layers_matter(Profile(anchor.keep))}


def test_a_seed_gives_the_same_profiles_again():
    runs = [search_anchors(DIAL, early_layers_matter, [2.0], trials=10, seed=seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_cuts_move_to_layers_beside_them_and_none_is_lost():
    rng, tokens, seen = np.random.default_rng(0), np.array([1.0, 0.0, 2.0]), set()
    for _ in range(50):
        found = moved(tokens, rng)
        assert found.sum() == pytest.approx(3.0) and (found >= 0).all()
        seen.add(tuple(found.tolist()))
    assert {(0.5, 0.5, 2.0), (1.0, 1.0, 1.0)} < seen
    seen = {tuple(moved(np.array([1.0, 2.0]), rng).tolist()) for _ in range(50)}
    assert seen == {(3.0, 0.0), (0.0, 3.0)}


def test_speedups_out_of_reach_are_left_out():
    assert search_anchors(DIAL, early_layers_matter, [1.01, 900.0], trials=4, seed=0) == ()


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_dial_serves_the_very_profiles_that_were_searched(every):
    dial = replace(DIAL, every=every)
    tried = []

    def divergence(profile):
        tried.append(profile)
        return early_layers_matter(profile)

    anchors = search_anchors(dial, divergence, [1.5, 2.0], trials=6, seed=0)
    served = replace(dial, profile_type="searched", anchors=anchors)
    for anchor in anchors:
        profile = served.profile(anchor.speedup)
        assert profile.keep == pytest.approx(anchor.keep, abs=1e-3)
        assert any(profile.keep == pytest.approx(each.keep, abs=1e-3) for each in tried)


WIDE = LayerShape(query=640, key_value=1280, output=640, feed_forward=5120, attention=8, heads=8, neurons=240)
ELASTIC = Dial(layer_acc=(0.9, 0.8, 0.7, 0.6, 0.5), lengths=(20, 30, 40), shapes=(WIDE,) * 5, widths=(0.5, 0.25))


def first_layers_need_width(profile: Profile) -> float:
    """Every token counts, and the heads and neurons of the first two layers."""
    level = profile.level
    lost = 0.0 if level is None else sum(2 - level.heads[layer] / 8 - level.neurons[layer] / 240 for layer in (0, 1))
    return lost + 3 * sum(1 - ratio for ratio in profile.keep[:4])


def test_where_widths_were_trained_the_search_finds_levels_that_differ_by_layer():
    anchors = search_anchors(ELASTIC, first_layers_need_width, [1.5, 2.0, 3.0], trials=120, seed=0)
    assert [anchor.speedup for anchor in anchors] == [1.5, 2.0, 3.0]
    for anchor in anchors:
        assert ELASTIC.speedup_of(anchor.profile) == pytest.approx(anchor.speedup, rel=0.06)
    level = anchors[1].level
    assert np.mean(level.neurons[:2]) > 1.2 * np.mean(level.neurons[2:])
    replace(ELASTIC, profile_type="searched", anchors=anchors)  # refuses levels that are not nested


@pytest.mark.parametrize(("levels", "expected"), [(1, 1), (2, 2), (3, 3), (None, 4)])
def test_there_are_no_more_levels_than_asked_for_and_tokens_do_the_rest(levels, expected):
    speedups = [1.5, 2.0, 2.5, 3.0]
    anchors = search_anchors(ELASTIC, first_layers_need_width, speedups, trials=20, seed=0, levels=levels)
    assert [anchor.speedup for anchor in anchors] == speedups
    assert len({anchor.level for anchor in anchors}) <= expected
    for anchor in anchors:
        assert ELASTIC.speedup_of(anchor.profile) == pytest.approx(anchor.speedup, rel=0.06)


@pytest.mark.parametrize("widths", [(), (0.5, 0.25)])
def test_one_deep_cut_is_among_the_starts_where_all_tokens_are_read(widths):
    def few_tokens_in_all_layers(profile: Profile) -> float:
        return (profile.keep[0] - profile.keep[-1]) / profile.keep[0]

    dial = replace(ELASTIC, reads="all", widths=widths)
    (anchor,) = search_anchors(dial, few_tokens_in_all_layers, [2.0], trials=14, seed=0)
    assert few_tokens_in_all_layers(anchor.profile) < 0.05


# Of one length alone, a token more in all layers would be 7% of the time.
FEW_SHORT = (6, 9, 12, 14, *range(31, 49), *range(31, 49))


@pytest.mark.parametrize("latency", [None, LatencyModel(8, *(Ramp(1e-5, (1.0, 64.0), (6e-3,)),) * 5)])
@pytest.mark.parametrize("reads", ["pooled", "all"])
def test_short_texts_use_the_whole_model_as_far_as_they_are_cheap(reads, latency):
    dial = replace(ELASTIC, lengths=FEW_SHORT, short_length=8.0, reads=reads, latency=latency)
    anchors = search_anchors(dial, first_layers_need_width, [1.5, 2.0, 3.0], trials=12, seed=0)
    assert all(anchor.level is not None for anchor in anchors[1:])
    assert {anchor.whole_length for anchor in anchors if anchor.level is not None} == {12.0}
    for anchor in anchors:
        assert dial.predicted(anchor.profile) == pytest.approx(anchor.speedup, rel=0.06)
    served = replace(dial, profile_type="searched", anchors=anchors)
    assert served.profile(2.5).whole_length == pytest.approx(12.0)
    assert whole_length(dial, 12.0) < whole_length(dial, 3.0)
    assert whole_length(replace(dial, lengths=(8, 12, 14)), 2.0) < 8
    assert whole_length(replace(dial, short_length=0.0), 2.0) == 0.0


def test_no_text_uses_the_whole_model_where_a_decoder_reads_on():
    assert whole_length(replace(ELASTIC, lengths=FEW_SHORT, short_length=8.0, reads="survivors"), 2.0) == 0.0


def test_without_trained_widths_no_level_is_tried():
    anchors = search_anchors(replace(ELASTIC, widths=()), first_layers_need_width, [2.0], trials=8, seed=0)
    assert anchors[0].level is None
