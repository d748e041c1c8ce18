"""A model at a level computes what a model of that size computes, and shares the weights of the whole one."""

import copy
import pickle
import threading
from operator import attrgetter

import pytest
import torch
from helpers.narrowed_reference import built_small, level_of, without_left_out
from helpers.tiny_models import CUT, FULL, LENGTHS, NARROWABLE, REPRESENTATIVES, Case, near
from transformers.pytorch_utils import Conv1D

from latadj.elimination.architectures import architecture_of, layer_shapes, layers_of
from latadj.elimination.attach import attach, attached, detach
from latadj.elimination.cost import flops, laid_out_weights, linear_weights, shapes_at
from latadj.elimination.current_setting import at_profile
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower

NARROW = [0.5, 0.5, 0.25, 0.25]
SHORT = [1.0, 0.0, 0.5, 0.5]
FIRST_OUT = [0.0, 0.5, 0.5, 0.5]


def shares_for(case, shares):
    # T5's first layer holds the table of positions, so a model built small keeps that layer.
    return SHORT if case.architecture == "t5" and shares is FIRST_OUT else shares


def both(case, shares, keep):
    """A model at a level, the model built small, and the profile of each."""
    model, small = attach(case.make()), case.make()
    level = level_of(model, shares_for(case, shares))
    attach(built_small(small, level))
    attending = [count > 0 for count in level.heads]
    profile = Profile(keep, level=level).held(attending)
    return model, small, profile, Profile(without_left_out(profile.keep, level))


@pytest.mark.parametrize("keep", [FULL.keep, CUT.keep], ids=["full", "cut"])
@pytest.mark.parametrize("shares", [NARROW, SHORT, FIRST_OUT], ids=["narrow", "short", "first out"])
@pytest.mark.parametrize("case", NARROWABLE, ids=str)
@torch.no_grad()
def test_a_model_at_a_level_computes_what_a_model_of_that_size_computes(case, shares, keep):
    model, small, profile, own = both(case, shares, keep)
    batch = case.batch(LENGTHS)
    with at_profile(model, profile), at_profile(small, own):
        assert near(case.outputs(model, batch), case.outputs(small, batch), atol=2e-5)


@pytest.mark.parametrize("case", REPRESENTATIVES, ids=str)
@torch.no_grad()
def test_the_whole_model_is_what_it_was_beside_its_levels(case):
    model, batch = case.make(), case.batch(LENGTHS)
    plain = case.outputs(model, batch)
    attach(model)
    with at_profile(model, Profile(FULL.keep, level=level_of(model, NARROW))):
        assert not near(case.outputs(model, batch), plain)
    assert near(case.outputs(model, batch), plain)
    detach(model)
    assert all(torch.equal(a, b) for a, b in zip(case.outputs(model, batch), plain, strict=True))


@pytest.mark.parametrize("case", REPRESENTATIVES, ids=str)
def test_gradients_of_a_level_reach_the_weights_that_it_uses_and_no_others(case):
    model = attach(case.make()).train()
    level = level_of(model, NARROW)
    with at_profile(model, Profile(CUT.keep, level=level)):
        torch.stack([output.sum() for output in case.outputs(model, case.batch(LENGTHS))]).sum().backward()
    layer, shape = layers_of(model)[0], layer_shapes(model)[0]
    paths, used = architecture_of(model).paths(layer), level.neurons[0]
    for path in (*paths.inner, paths.outer):
        linear = attrgetter(path)(layer)
        grad = linear.weight.grad.T if isinstance(linear, Conv1D) else linear.weight.grad
        for by_neuron in (grad.T if path == paths.outer else grad).split(shape.neurons):
            assert by_neuron[:used].abs().sum() > 0
            assert by_neuron[used:].abs().sum() == 0


@pytest.mark.parametrize("shares", [NARROW, SHORT, FIRST_OUT], ids=["narrow", "short", "first out"])
@pytest.mark.parametrize("keep", [FULL.keep, CUT.keep], ids=["full", "cut"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3", "phi3", "gemma3_text", "t5"])
def test_a_model_at_a_level_generates_what_a_model_of_that_size_generates(architecture, shares, keep):
    case = Case(architecture, "language")
    model, small, profile, own = both(case, shares, keep)
    batch = case.batch([14, 9])
    for name in ("logits_to_keep", "decoder_input_ids", "position_ids"):
        batch.pop(name, None)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with at_profile(model, profile), at_profile(small, own):
        assert torch.equal(model.generate(**batch, **options), small.generate(**batch, **options))


@torch.no_grad()
def test_a_cache_goes_on_at_the_level_that_filled_it():
    case = Case("llama", "language")
    model = attach(case.make())
    ids = case.batch([12])["input_ids"]
    with at_profile(model, Profile(FULL.keep, level=level_of(model, NARROW))):
        expected = model(input_ids=ids).logits[:, -1]
        past = model(input_ids=ids[:, :-1], use_cache=True).past_key_values
    continued = model(input_ids=ids[:, -1:], past_key_values=past).logits[:, -1]
    assert torch.allclose(continued, expected, atol=1e-5)


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
@torch.no_grad()
def test_a_copy_has_levels_of_its_own(twin):
    case = Case("bert", "classifier")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    profile = Profile(CUT.keep, level=level_of(model, NARROW))
    with at_profile(model, profile):
        before = case.outputs(model, batch)
        other = twin(model)
        for weight in other.parameters():
            weight.mul_(1.5)
        assert near(case.outputs(model, batch), before)
    with at_profile(other, profile):
        assert not near(case.outputs(other, batch), before)


@torch.no_grad()
def test_threads_at_two_levels_do_not_meet():
    case = Case("bert", "classifier")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    profiles = [Profile(CUT.keep, level=level_of(model, shares)) for shares in (NARROW, SHORT)]
    alone = []
    for profile in profiles:
        with at_profile(model, profile):
            alone.append(case.outputs(model, batch))
    met = []

    @torch.no_grad()
    def run(profile, expected):
        for _ in range(20):
            with at_profile(model, profile):
                met.append(near(case.outputs(model, batch), expected))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(profiles, alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 40 and all(met)


@pytest.mark.parametrize("case", REPRESENTATIVES, ids=str)
def test_flops_of_a_level_are_those_of_a_model_of_that_size(case):
    model, small = case.make(), case.make()
    level = level_of(model, NARROW)
    shapes = shapes_at(layer_shapes(model), level)
    assert shapes == layer_shapes(built_small(small, level))
    lengths = torch.tensor(LENGTHS).numpy()
    whole = flops(layer_shapes(model), Profile(CUT.keep, level=level), lengths, "all")
    assert (whole == flops(shapes, CUT, lengths, "all")).all()


@pytest.mark.parametrize(
    ("heads", "neurons", "message"),
    [
        ((4, 4), (64,), "heads of 2 layers and neurons of 1"),
        ((4, -1), (64, 64), "expected at least 0"),
        ((), (), "heads of 0 layers"),
    ],
)
def test_a_level_that_no_model_has_is_refused(heads, neurons, message):
    with pytest.raises(ValueError, match=message):
        Level(heads, neurons)


def test_a_level_beyond_the_model_is_refused():
    case = Case("bert", "classifier")
    model = attach(case.make())
    with (
        at_profile(model, Profile(FULL.keep, level=Level((5,) * 4, (64,) * 4))),
        pytest.raises(ValueError, match="5 heads and 64 neurons, in a layer of 4 and 64"),
    ):
        model(**case.batch(LENGTHS))


@pytest.mark.parametrize("spec", [KernelSpec("fp32", "plain"), KernelSpec("fp32", "onednn")], ids=["plain", "packed"])
@pytest.mark.parametrize("shares", [NARROW, SHORT], ids=["narrow", "short"])
@pytest.mark.parametrize("case", REPRESENTATIVES, ids=str)
@torch.no_grad()
def test_a_lowered_model_runs_at_the_levels_that_it_was_lowered_for(case, shares, spec):
    model, batch = attach(case.make()), case.batch(LENGTHS)
    profile = Profile(CUT.keep, level=level_of(model, shares))
    expected = []
    for one in (profile, FULL):
        with at_profile(model, one):
            expected.append(case.outputs(model, batch))
    lower(model, spec, attached(model).reads, [profile.level])
    for one, outputs in zip((profile, FULL), expected, strict=True):
        with at_profile(model, one):
            assert near(case.outputs(model, batch), outputs)
    other = Profile(CUT.keep, level=Level((1,) * 4, (7,) * 4))
    with at_profile(model, other), pytest.raises(ValueError, match="lowered for serving without layers of 1 heads"):
        case.outputs(model, batch)


@pytest.mark.parametrize("case", [case for case in REPRESENTATIVES if case.architecture != "t5"], ids=str)
def test_the_weights_that_are_laid_out_are_counted_once_for_each_width_of_a_layer(case, monkeypatch):
    model = attach(case.make())
    first, second = level_of(model, [1.0, 0.5, 0.5, 0.25]), level_of(model, [0.5, 0.5, 0.25, 0.25])
    shapes, packed, pack = layer_shapes(model), [], KernelSpec.pack

    def noted(spec, *linears, **options):
        packed.extend(linear.weight.numel() for linear in linears)
        return pack(spec, *linears, **options)

    model.lm_head = None  # its vocabulary is no layer's
    monkeypatch.setattr(KernelSpec, "pack", noted)
    lower(model, KernelSpec("fp32", "plain"), attached(model).reads, [first, second, first])
    assert sum(packed) == laid_out_weights(shapes, [first, second]) > laid_out_weights(shapes, [first])
    assert laid_out_weights(shapes, []) == linear_weights(shapes)
