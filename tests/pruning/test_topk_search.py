"""The greedy choice of hard layers, against an evaluation whose answers are known."""

import pytest

from latadj.elimination.topk_setting import TopKAttention
from latadj.pruning.topk_search import choose_topk_attention


def worth(gains):
    """An evaluation by a table of what each (layer, k) adds; it notes what it was asked."""
    asked = []

    def evaluate(hard):
        asked.append(hard.layers)
        return 0.8 + sum(gains.get((layer, k), 0.0) for layer, k in enumerate(hard.layers) if k is not None)

    return evaluate, asked


def test_layers_are_tried_from_the_last_and_stay_hard_where_the_metric_does_not_fall():
    evaluate, asked = worth({(2, 0.5): 0.01, (2, 0.25): -0.01, (1, 0.5): -0.02, (1, 0.25): -0.01, (0, 0.5): -0.03})
    found = choose_topk_attention(3, [0.5, 0.25], evaluate)
    assert found.topk == TopKAttention((0.25, None, 0.5))
    assert found.evaluation == pytest.approx(0.81)
    assert asked == [
        (None, None, None),
        (None, None, 0.5),
        (None, None, 0.25),
        (None, 0.5, 0.5),
        (None, 0.25, 0.5),
        (0.5, None, 0.5),
        (0.25, None, 0.5),
    ]
    assert [(trial.layer, trial.k, trial.kept) for trial in found.trials] == [
        *((2, 0.5, True), (2, 0.25, False)),
        *((1, 0.5, False), (1, 0.25, False)),
        *((0, 0.5, False), (0, 0.25, True)),
    ]
    assert [trial.metric_before for trial in found.trials] == pytest.approx([0.8, 0.8, 0.81, 0.81, 0.81, 0.81])
    assert [trial.metric_after for trial in found.trials] == pytest.approx([0.81, 0.79, 0.79, 0.8, 0.78, 0.81])


def test_of_equally_good_ones_the_fewer_keys_are_kept():
    evaluate, _ = worth({})
    assert choose_topk_attention(2, [8, 4, 2], evaluate).topk == TopKAttention((2, 2))


def test_a_better_metric_goes_before_fewer_keys():
    evaluate, _ = worth({(0, 8): 0.02, (0, 4): 0.01})
    assert choose_topk_attention(1, [8, 4], evaluate).topk == TopKAttention((8,))


def test_where_all_layers_hurt_attention_stays_as_it_is():
    evaluate, _ = worth({(layer, 1): -0.1 for layer in range(3)})
    found = choose_topk_attention(3, [1], evaluate)
    assert found.topk == TopKAttention.full(3)
    assert found.evaluation == 0.8
    assert not any(trial.kept for trial in found.trials)


def test_the_criterion_decides_by_whatever_the_evaluation_says():
    seen, steps = [], []

    def evaluate(hard):
        return {"metric": 0.9, "sure": hard.layers[0] is None}

    def accepts(before, after):
        seen.append((before["sure"], after["sure"]))
        return after["sure"]

    found = choose_topk_attention(
        2, [4], evaluate, accepts=accepts, metric=lambda found: found["metric"], advance=lambda: steps.append(1)
    )
    assert found.topk == TopKAttention((None, 4))
    assert seen == [(True, True), (True, False)]
    assert len(steps) == 2


def test_only_the_named_layers_are_tried():
    evaluate, asked = worth({})
    assert choose_topk_attention(4, [2], evaluate, among=[1, 3]).topk == TopKAttention((None, 2, None, 2))
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("ks", "options", "message"),
    [
        ([], {}, r"topk_attention.k: expected at least one"),
        ([0], {}, r"topk_attention, k=0: expected an integer >= 1"),
        ([None], {}, r"topk_attention, k=None: expected"),
        ([2], {"among": [2]}, r"layers \[2\]: this model has those from 0 to 1"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is_evaluated(ks, options, message):
    evaluate, asked = worth({})
    with pytest.raises(ValueError, match=message):
        choose_topk_attention(2, ks, evaluate, **options)
    assert asked == []
