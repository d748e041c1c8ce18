"""DeBERTa: disentangled attention between survivors goes by the distances of the text."""

import pytest
import torch
from helpers.masked_reference import masked, survivors_of
from helpers.random_order import at_random
from helpers.tiny_models import CUT, FULL, LENGTHS, Case, near
from helpers.zeroed_reference import SOME, zeroed

from latadj.elimination.architectures import layers_of
from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning import order_by, remove, reorder, zero_fill_pruned

KINDS = {
    "both": {},
    "content to position": {"pos_att_type": ["c2p"]},
    "position to content": {"pos_att_type": ["p2c"]},
    "neither": {"pos_att_type": []},
    "maps of their own": {"share_att_key": False},
    "no buckets": {"position_buckets": -1},
    "no buckets, fewer than tokens": {"position_buckets": -1, "max_relative_positions": 9},
    "no norm": {"norm_rel_ebd": "none"},
    "places in the input too": {"position_biased_input": True},
    "no relative positions": {"relative_attention": False, "position_biased_input": True},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def options(request):
    """What DeBERTas differ in."""
    return request.param


@pytest.fixture(params=["classifier", "tagger"])
def case(request):
    return Case("deberta-v2", request.param)


@torch.no_grad()
def outputs(case, model, batch):
    return case.outputs(model, batch)


def test_every_kind_computes_what_the_plain_model_does(case, options):
    model, batch = case.make(**options), case.batch(LENGTHS, width=30)
    plain = outputs(case, model, batch)
    attach(model)
    with at_profile(model, FULL, score_observer=lambda *_: None):  # so that our own layers run, whatever the head reads
        assert near(outputs(case, model, batch), plain)
    ours, alive = survivors_of(model, batch["attention_mask"], CUT, lambda: outputs(case, model, batch))
    detach(model)
    assert near(outputs(case, model, batch), plain, atol=0)
    with masked(model, alive):
        assert near(ours, outputs(case, model, batch))


@pytest.mark.parametrize("spec", [KernelSpec("fp32", "plain"), KernelSpec("fp32", "onednn")], ids=["plain", "packed"])
def test_every_kind_computes_the_same_when_it_is_lowered(case, options, spec):
    model, batch = attach(case.make(**options)), case.batch(LENGTHS)
    level = Level((4, 2, 0, 1), (64, 30, 20, 10))
    profiles = [FULL, CUT, Profile(CUT.keep, level=level)]
    expected = []
    for profile in profiles:
        with at_profile(model, profile):
            expected.append(outputs(case, model, batch))
    lower(model, spec, levels=[level])
    for profile, before in zip(profiles, expected, strict=True):
        with at_profile(model, profile):
            assert near(outputs(case, model, batch), before)


def test_a_lowered_model_computes_its_vectors_of_distances_once(case):
    model, batch = attach(lower(case.make(), KernelSpec("fp32", "plain"))), case.batch(LENGTHS)
    calls = []
    for layer in layers_of(model):
        for name in ("query_proj", "key_proj"):
            getattr(layer.attention.self, name).register_forward_hook(lambda *_: calls.append(1))
    with at_profile(model, CUT):
        outputs(case, model, batch)
    assert calls == []


def test_heads_that_are_pruned_take_their_vectors_along(case, options):
    model, batch = case.make(**options), case.batch(LENGTHS)
    remove(model, SOME)
    expected = zeroed(case.make(**options), SOME)
    for profile in (None, CUT):
        if profile is None:
            assert near(outputs(case, model, batch), outputs(case, expected, batch))
            whole = zero_fill_pruned(model)
            assert near(outputs(case, whole, batch), outputs(case, expected, batch))
        else:
            attach(model)
            with at_profile(model, FULL, score_observer=lambda *_: None):
                assert near(outputs(case, model, batch), outputs(case, expected, batch))


def test_heads_in_another_order_compute_the_same(case, options):
    model, batch = case.make(**options), case.batch(LENGTHS)
    before = outputs(case, model, batch)
    reorder(model, order_by(model, at_random(model)))
    assert near(outputs(case, model, batch), before)


def test_texts_as_long_as_the_farthest_bucket_are_read_alike():
    case = Case("deberta-v2", "tagger")
    model, batch = case.make(), case.batch([64, 1, 50])
    plain = outputs(case, model, batch)
    attach(model)
    with at_profile(model, FULL, score_observer=lambda *_: None):
        assert near(outputs(case, model, batch), plain)


def test_vectors_of_distances_learn():
    case = Case("deberta-v2", "classifier")
    model = attach(case.make()).train()
    with at_profile(model, CUT):
        model(**case.batch(LENGTHS)).logits.square().sum().backward()
    assert model.deberta.encoder.rel_embeddings.weight.grad.abs().sum() > 0


def test_a_convolution_beside_the_layers_is_refused_by_name():
    model = Case("deberta-v2", "classifier").make(conv_kernel_size=3)
    with pytest.raises(ValueError, match="conv_kernel_size=3: this DebertaV2ForSequenceClassification has a conv"):
        attach(model)


def test_padding_with_a_mask_is_not_warned_of(caplog):
    case = Case("deberta-v2", "classifier")
    model = attach(case.make())
    with at_profile(model, CUT):
        outputs(case, model, case.batch(LENGTHS, width=40))
    assert "attention_mask" not in caplog.text


def test_a_model_learns_after_it_has_answered():
    case = Case("deberta-v2", "classifier")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    with torch.inference_mode(), at_profile(model, CUT):
        model(**batch)
    with at_profile(model, CUT):
        model(**batch).logits.square().mean().backward()
    assert model.deberta.encoder.rel_embeddings.weight.grad.abs().sum() > 0
