"""Ordering heads and neurons by significance changes no output, and puts the most significant first."""

import pytest
import torch
from helpers.narrowed_reference import level_of
from helpers.random_order import at_random
from helpers.tiny_models import CUT, LENGTHS, NARROWABLE, Case, near

from latadj.elimination.architectures import layer_shapes, layers_of
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning import PruningUnit, order_by, remove, reorder


@pytest.mark.parametrize("case", NARROWABLE, ids=str)
@torch.no_grad()
def test_a_reordered_model_computes_what_it_computed(case):
    model, batch = case.make(), case.batch(LENGTHS)
    before, weights = case.outputs(model, batch), [weight.clone() for weight in model.parameters()]
    reorder(model, order_by(model, at_random(model)))
    assert near(case.outputs(model, batch), before)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), weights, strict=True))
    attach(model)
    with at_profile(model, CUT):
        cut = case.outputs(model, batch)
    twin = attach(case.make())
    with at_profile(twin, CUT):
        assert near(cut, case.outputs(twin, batch))


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_the_most_significant_neurons_come_first(architecture):
    case = Case(architecture, "classifier")
    model = case.make()
    significance = at_random(model)
    order = order_by(model, significance)
    for values, places in zip(significance.neurons, order.neurons, strict=True):
        assert (values[places].diff() <= 0).all()


@pytest.mark.parametrize("architecture", ["bert", "llama"])
@torch.no_grad()
def test_a_pruned_model_is_reordered_too(architecture):
    case = Case(architecture, "classifier")
    model, batch = case.make(), case.batch(LENGTHS)
    remove(model, [PruningUnit("head", 1, 0), PruningUnit("attention", 2), PruningUnit("neurons", 0, 0, (1, 5, 9))])
    before = case.outputs(model, batch)
    reorder(model, order_by(model, at_random(model)))
    assert near(case.outputs(model, batch), before)


@torch.no_grad()
def test_heads_of_t5_have_one_order_since_they_share_a_table():
    case = Case("t5", "language")
    model = case.make()
    order = order_by(model, at_random(model))
    assert all(torch.equal(heads, order.heads[0]) for heads in order.heads)
    remove(model, [PruningUnit("head", 1, 0)])
    batch = case.batch(LENGTHS)
    before = case.outputs(model, batch)
    reorder(model, order_by(model, at_random(model)))
    assert near(case.outputs(model, batch), before)


def test_a_lowered_model_is_not_reordered():
    model = Case("bert", "classifier").make()
    order = order_by(model, at_random(model))
    with pytest.raises(ValueError, match="lowered for serving"):
        reorder(lower(model, KernelSpec("fp32", "plain")), order)


@torch.no_grad()
def test_a_level_uses_the_weights_in_their_new_order():
    case = Case("bert", "classifier")
    model = attach(case.make())
    shapes = layer_shapes(model)

    profile = Profile(CUT.keep, level=level_of(model, [0.5] * len(shapes)))
    batch = case.batch(LENGTHS)
    with at_profile(model, profile):
        before = case.outputs(model, batch)
        reorder(model, order_by(model, at_random(model)))
        assert not near(case.outputs(model, batch), before)
    assert len(layers_of(model)) == len(shapes)
