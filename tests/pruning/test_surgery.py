"""What is removed leaves the weights, and what is left computes what the masked model computes."""

import copy

import pytest
import torch
from helpers.kernel_support import needs
from helpers.tiny_models import CUT, DECODERS, FULL, LENGTHS, Case, dial_for, near
from helpers.zeroed_reference import FIRST, SOME, zeroed

from latadj.elimination.architectures import layers_of
from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning import PruningUnit, parameter_count, remove, structure_of, units_of, without, zero_fill_pruned


def pair(case, units):
    """A pruned model, and a whole one whose units are zero."""
    model, masked = case.make(), case.make()
    remove(model, units)
    zeroed(masked, units)
    return attach(model), attach(masked)


@pytest.mark.parametrize("units", [SOME, FIRST], ids=["some", "first"])
@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
def test_a_pruned_model_computes_what_the_masked_one_computes(case, units, profile):
    model, masked = pair(case, units)
    batch = case.batch(LENGTHS)
    # Without attention a layer has nobody to choose by, so the masked model must not choose there either.
    profile = profile.held([PruningUnit("attention", layer) not in units for layer in range(4)])
    # Heads that are gone have no say in who survives; so that both keep the same, no head has.
    score = "position"
    with torch.no_grad(), at_profile(model, profile, score=score), at_profile(masked, profile, score=score):
        assert near(case.outputs(model, batch), case.outputs(masked, batch), atol=1e-5)


@pytest.mark.parametrize("units", [SOME, FIRST], ids=["some", "first"])
def test_transformers_own_forward_runs_it_too(case, units):
    model, masked = pair(case, units)
    batch = case.batch(LENGTHS)
    with torch.no_grad():
        assert near(case.outputs(detach(model), batch), case.outputs(detach(masked), batch), atol=1e-5)


def test_what_is_removed_leaves_the_weights(classifier):
    model = classifier.make()
    before = parameter_count(model)
    each = {id(weight) for weight in model.parameters()}
    remove(model, SOME)
    last = layers_of(model)[3]
    matrices = [weight for weight in last.parameters() if weight.ndim == 2 and weight.shape[0] > 4]
    assert parameter_count(model) < 0.7 * before
    assert sum(weight.numel() for weight in matrices) < 300  # T5's first layer holds a bias table, the last nothing
    assert len(each & {id(weight) for weight in model.parameters()}) > 0


def test_without_puts_everything_back(case):
    model = attach(case.make())
    batch = case.batch(LENGTHS)
    with torch.no_grad():
        before = case.outputs(model, batch)
        names = dict(model.named_parameters())
        with without(model, SOME[:3]):
            assert not near(case.outputs(model, batch), before)
            with without(model, SOME):
                case.outputs(model, batch)
        assert structure_of(model) is None
        assert all(weight is names[name] for name, weight in model.named_parameters())
        assert all(torch.equal(*pair) for pair in zip(case.outputs(model, batch), before, strict=True))


def test_removing_one_after_the_other_is_removing_all(case):
    at_once, in_turn = case.make(), case.make()
    remove(at_once, SOME)
    for unit in reversed(SOME):
        remove(in_turn, [unit])
    assert structure_of(at_once) == structure_of(in_turn)
    batch = case.batch(LENGTHS)
    with torch.no_grad():
        pairs = zip(case.outputs(at_once, batch), case.outputs(in_turn, batch), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_gradients_reach_what_is_left(case):
    model, masked = pair(case, SOME)
    batch = case.batch(LENGTHS)
    for one in (model, masked):
        torch.cat([output.flatten() for output in case.outputs(one, batch)]).square().sum().backward()
    kept, found = copy.deepcopy(model), model
    with torch.no_grad():
        for name, weight in model.named_parameters():
            cut = weight.numel() > 0 and weight.shape != masked.get_parameter(name).shape
            assert not cut or weight.grad is not None, name
            kept.get_parameter(name).fill_(weight.grad is not None)
            # In the place of weights, so that they come to stand where whole layers have them.
            weight.copy_(torch.zeros_like(weight) if weight.grad is None else weight.grad)
    kept, found = zero_fill_pruned(kept), zero_fill_pruned(found)
    for name, weight in masked.named_parameters():
        if weight.grad is not None:
            theirs = weight.grad * kept.get_parameter(name)
            # A bias of keys moves nothing, so that its gradient is rounding alone.
            assert (found.get_parameter(name) - theirs).norm() <= 1e-4 * theirs.norm() + 1e-3, name


def test_a_copy_is_pruned_on_its_own(case):
    model = attach(case.make())
    remove(model, FIRST)
    batch = case.batch(LENGTHS)
    with torch.no_grad():
        before = case.outputs(model, batch)
        twin = copy.deepcopy(model)
        remove(twin, SOME)
        assert all(torch.equal(*pair) for pair in zip(case.outputs(model, batch), before, strict=True))
        assert near(case.outputs(copy.deepcopy(model), batch), before, atol=0)


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
@pytest.mark.parametrize(
    ("spec", "at_least"),
    [
        (KernelSpec("fp32", "plain"), 0.99999),
        (KernelSpec("fp32", "onednn"), 0.99999),
        (KernelSpec("bf16", "onednn"), 0.7),
    ],
    ids=["plain", "onednn", "bf16"],
)
def test_a_pruned_model_can_be_lowered(case, spec, at_least, profile):
    needs(spec.precision, spec.kernel)
    model = attach(case.make())
    remove(model, SOME)
    batch = case.batch(LENGTHS)
    lowered = lower(copy.deepcopy(model), spec)
    with torch.no_grad(), at_profile(model, profile), at_profile(lowered, profile):
        pair = [torch.cat([said.flatten() for said in case.outputs(one, batch)]).float() for one in (lowered, model)]
    assert torch.corrcoef(torch.stack(pair))[0, 1] > at_least


@pytest.mark.parametrize("kernel", ["onednn", "x86"])
def test_a_pruned_model_can_be_lowered_to_int8(classifier, kernel):
    needs("int8", kernel)
    model = attach(classifier.make())
    remove(model, SOME)
    batch = classifier.batch(LENGTHS)
    lowered = lower(copy.deepcopy(model), KernelSpec("int8", kernel))
    with torch.no_grad():
        pair = [torch.cat(classifier.outputs(one, batch)).float() for one in (lowered, model)]
    assert torch.corrcoef(torch.stack(pair))[0, 1] > 0.9


def test_a_lowered_model_is_not_pruned(classifier):
    with pytest.raises(ValueError, match="lowered for serving"):
        remove(lower(classifier.make(), KernelSpec("fp32", "plain")), SOME)


def test_parts_go_from_coarse_to_fine(classifier):
    model = classifier.make()
    grouped = classifier.architecture in DECODERS[1:]
    heads = 2 if grouped else 4
    kinds = [unit.kind for unit in units_of(model, groups=8)]
    assert kinds == ["attention", "feed_forward"] * 4 + ["head"] * heads * 4 + ["neurons"] * 32
    remove(model, SOME)
    assert len(units_of(model)) == 1 + 1 + 1 + 1 + (heads - 1) + heads + 16
    assert units_of(model)[0].name == "layer 1 attention"


def test_neurons_that_matter_alike_make_a_group(classifier):
    ranks = [torch.arange(64).flip(0).float()] * 4
    first = next(unit for unit in units_of(classifier.make(), 16, ranks) if unit.kind == "neurons")
    assert first.neurons == (60, 61, 62, 63)
    with pytest.raises(ValueError, match="from 1 to the 64 neurons"):
        units_of(classifier.make(), 65)


def test_a_dial_eliminates_where_there_is_attention(classifier):
    model = classifier.make()
    remove(model, [PruningUnit("attention", 0), PruningUnit("attention", 2)])
    keep = dial_for(model, profile_type="geometric").profile(1.8).keep
    assert keep[0] == 1.0
    assert keep[1] == keep[2] < 1.0
    assert keep[3] < keep[2] or classifier.architecture != "t5"


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
@pytest.mark.parametrize("units", [SOME, FIRST], ids=["some", "first"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3", "phi3", "gemma3_text", "t5"])
def test_a_pruned_model_generates_what_the_masked_one_generates(architecture, units, profile):
    case = Case(architecture, "language")
    model, masked = pair(case, units)
    profile = profile.held([PruningUnit("attention", layer) not in units for layer in range(4)])
    batch = case.batch([14, 9])
    batch.pop("logits_to_keep", None), batch.pop("decoder_input_ids", None), batch.pop("position_ids", None)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with at_profile(model, profile, score="position"), at_profile(masked, profile, score="position"):
        assert torch.equal(model.generate(**batch, **options), masked.generate(**batch, **options))
