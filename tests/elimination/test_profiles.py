import json
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.tiny_models import ARCHITECTURES, DECODERS, REACHES, tiny

from latadj.elimination.architectures import layer_shapes
from latadj.elimination.cost import ALL, POOLED, LayerShape, flops, flops_speedup, full_flops, layer_flops, schedule
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Anchor, Profile
from latadj.utils.serialization import structure, unstructure

SHAPE = LayerShape(query=16, key_value=32, output=16, feed_forward=128, attention=4)
LENGTHS = (5, 9, 14, 30)


def dial(**options):
    found = {
        "layer_acc": (0.95, 0.9, 0.8, 0.7, 0.6, 0.5),
        "lengths": LENGTHS,
        "shapes": (SHAPE,) * 6,
        "anchors": (
            Anchor(2.0, (1, 0.8, 0.5, 0.3, 0.2, 0.2)),
            Anchor(4.0, (0.5, 0.3, 0.2, 0.1, 0.1, 0.1)),
        ),
    }
    return Dial(**{**found, **options})


def test_flops_count_what_the_engine_runs_by_hand():
    # One layer, 10 tokens in, 4 out, head reads all of them.
    expected = 2 * (10 * 16 + 10 * 32 + 2 * 10 * 10 * 4 + 10 * 16 + 4 * 128)
    assert flops([SHAPE], Profile((0.4,)), np.array([10]), ALL)[0] == expected
    # Trimmed to the pooled position: one query, every key.
    expected = 2 * (1 * 16 + 10 * 32 + 2 * 1 * 10 * 4 + 1 * 16 + 1 * 128)
    assert flops([SHAPE], Profile((1.0,)), np.array([10]), POOLED)[0] == expected


def test_the_plain_model_costs_what_keep_all_costs_without_trimming():
    lengths = np.array(LENGTHS)
    assert np.array_equal(full_flops([SHAPE] * 3, lengths), flops([SHAPE] * 3, Profile.full(3), lengths, ALL))


def test_lossless_trimming_of_six_layers_is_worth_a_tenth():
    assert flops_speedup([SHAPE] * 6, Profile.full(6), np.array(LENGTHS), POOLED) >= 1.10


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shapes_are_read_from_the_layers(architecture):
    grouped, gated = architecture in DECODERS[1:], architecture in (*DECODERS[1:], "t5", "modernbert", "nomic_bert")
    expected = LayerShape(
        query=32 * 32,
        key_value=2 * 32 * (16 if grouped else 32),
        output=32 * 32,
        feed_forward=(3 if gated else 2) * 32 * 64,
        attention=32,
        causal=architecture in DECODERS,
        heads=2 if grouped else 4,
        neurons=64,
    )
    reaches = REACHES.get(architecture, (0,) * 4)
    assert layer_shapes(tiny(architecture)) == tuple(replace(expected, reach=reach) for reach in reaches)


def test_a_window_bounds_the_pairs_of_tokens():
    shape, length = replace(SHAPE, causal=True, reach=4), np.array([10])
    expected = 2 * (10 * 16 + 10 * 32 + 2 * (1 + 2 + 3 + 7 * 4) * 4 + 10 * 16 + 10 * 128)
    assert full_flops([shape], length)[0] == expected
    # Half of the tokens are left, so that half of those in a window are.
    cut = layer_flops([shape, shape], Profile((0.5, 0.5)), length, ALL)[1, 0]
    assert cut == 2 * (5 * 16 + 5 * 32 + 2 * (1 + 4 * 2) * 4 + 5 * 16 + 5 * 128)
    assert full_flops([replace(shape, reach=10)], length) == full_flops([replace(shape, reach=0)], length)


def test_each_sequence_keeps_its_own_number():
    counts = schedule(Profile((0.5, 0.1)), np.array([10, 5, 1]), ALL)
    assert counts.tolist() == [[10, 5, 1], [5, 3, 1], [1, 1, 1]]


def test_short_texts_are_not_cut_and_long_ones_keep_some_tokens_and_a_share_of_the_others():
    # Of 3, 8, 12, 16 and 42 tokens, 3, 8, 5, 2 and 2 are spared.
    counts = schedule(Profile((0.5, 0.1), short_length=8), np.array([3, 8, 12, 16, 42]), ALL)
    assert counts.tolist() == [[3, 8, 12, 16, 42], [3, 8, 9, 9, 22], [3, 8, 6, 4, 6]]


def test_no_length_keeps_less_where_short_length_is_larger():
    lengths = np.arange(1, 80)
    counts = [Profile((0.4, 0.02), size).counts(lengths) for size in np.arange(0, 30, 0.3)]
    assert (np.diff(counts, axis=0) >= 0).all()


@pytest.mark.parametrize("short_length", [-1, math.nan, math.inf])
def test_short_length_that_cannot_be_are_refused(short_length):
    with pytest.raises(ValueError, match="short_length="):
        Profile((0.5,), short_length)
    with pytest.raises(ValueError, match="short_length="):
        dial(short_length=short_length)


@pytest.mark.parametrize("profile_type", ["geometric", "acc", "searched"])
def test_more_speedup_keeps_less_of_every_length_with_short_length_too(profile_type):
    anchors = (Anchor(2.0, (1, 0.8, 0.5, 0.3, 0.2, 0.2), 6.0), Anchor(4.0, (0.5, 0.3, 0.2, 0.1, 0.1, 0.1), 1.5))
    found = dial(profile_type=profile_type, short_length=2.0, anchors=anchors, lengths=(5, 9, 14, 30, 90))
    lengths = np.arange(1, 100)
    counts = [found.profile(speedup).counts(lengths) for speedup in np.arange(1, min(found.reach(), 5.0), 0.25)]
    assert len(counts) > 10
    assert (np.diff(counts, axis=0) <= 0).all()


def test_past_the_last_anchor_short_length_shrink_with_the_ratios():
    found = dial(profile_type="searched", anchors=(Anchor(2.0, (0.5,) * 6, 6.0),), lengths=(40, 90))
    near, far = found.profile(3.5), found.profile(4.5)
    assert 0 < far.short_length < near.short_length < 6.0


@pytest.mark.parametrize("profile_type", ["geometric", "acc", "searched"])
@pytest.mark.parametrize("speedup", [1.5, 2, 2.75, 3.5, 5])
def test_asking_for_a_flops_speedup_gives_it(profile_type, speedup):
    found = dial(profile_type=profile_type)
    got = found.speedup_of(found.profile(speedup))
    assert speedup <= got <= speedup * 1.06  # short sequences come in whole tokens


@pytest.mark.parametrize("profile_type", ["geometric", "acc", "searched"])
def test_more_speedup_keeps_less_in_every_layer(profile_type):
    found = dial(profile_type=profile_type)
    ratios = np.array([found.profile(speedup).keep for speedup in np.arange(1, 5.01, 0.25)])
    assert (np.diff(ratios, axis=0) <= 1e-12).all()


def test_speedup_one_eliminates_nothing():
    assert not dial().profile(1).eliminates


def test_a_searched_profile_is_found_again_at_its_speedup():
    anchored = dial(profile_type="searched")
    keep = (1, 0.8, 0.5, 0.3, 0.2, 0.2)
    speedup = anchored.speedup_of(Profile(keep))
    exact = replace(anchored, anchors=(Anchor(speedup, keep),))
    assert np.allclose(exact.profile(speedup).keep, keep, atol=0.02)


@pytest.mark.parametrize("speedup", [0.5, -1, math.nan, math.inf, "3"])
def test_a_speedup_below_one_or_no_number_is_refused(speedup):
    with pytest.raises(ValueError, match="expected a number from 1 to 5"):
        dial().profile(speedup)


def test_a_speedup_beyond_the_dial_says_how_far_it_goes():
    with pytest.raises(ValueError, match=r"goes to 5: ask for 1 to 5, or calibrate again with .*=7"):
        dial().profile(6.5)


def test_a_speedup_that_no_profile_reaches_says_where_the_profile_type_ends():
    with pytest.raises(ValueError, match=r"out of reach: profile=acc ends at \d"):
        dial(max_speedup=1000.0, lengths=(3,)).profile(900)


@pytest.mark.parametrize("keep", [(1.2, 1), (0.5, 0.0), (0.5, 0.6)])
def test_a_profile_that_cannot_be_is_refused(keep):
    with pytest.raises(ValueError, match="keep ratio of layer"):
        Profile(keep)


def test_a_dial_survives_json():
    found = dial(profile_type="searched", short_length=2.5)
    assert structure(Dial, json.loads(json.dumps(unstructure(found)))) == found


@pytest.mark.parametrize(
    "change", [{"layer_acc": None}, {"shapes": [{"query": 1}]}, {"lengths": []}, {"extra": 1}, {"profile_type": "none"}]
)
def test_damaged_json_is_refused(change):
    with pytest.raises(ValueError):
        structure(Dial, {**unstructure(dial()), **change})


@pytest.mark.parametrize(
    ("ratio", "length", "kept"),
    [
        (0.3, 10, 3),
        (1e-9, 10, 1),
        (0.1 + 0.2, 10, 3),
        (0.31, 10, 4),
        (0.01, 10, 1),
        (1.0, 10, 10),
        (0.07 * 100 / 10, 10, 7),
    ],
)
def test_a_ratio_keeps_its_share_rounded_up_and_no_rounding_error_counts(ratio, length, kept):
    assert Profile((ratio,)).counts(np.array([length])).tolist() == [[kept]]


@pytest.mark.parametrize(("causal", "pairs"), [(True, 1 + 2 + 3), (False, 3 * 3)])
def test_attention_products_are_counted_pair_by_pair(causal, pairs):
    shape = LayerShape(query=0, key_value=0, output=0, feed_forward=0, attention=4, causal=causal)
    # Two products, queries with keys and probabilities with values; a multiply-add is two FLOPs.
    assert flops([shape], Profile.full(1), np.array([3]), ALL).tolist() == [2 * 2 * pairs * 4]
