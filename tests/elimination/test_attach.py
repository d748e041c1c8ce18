"""Turning the dial of an attached model, and what cannot be attached."""

import copy

import pytest
import torch
from conftest import tiny_bert
from helpers.tiny_models import CUT, LENGTHS, batch_of, dial_for, near, tiny
from torch import nn
from transformers import AutoConfig

from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile, at_speedup, set_speedup
from latadj.elimination.profiles import Profile


@torch.no_grad()
def outputs(case, model, batch):
    return case.outputs(model, batch)


def test_set_speedup_turns_the_default_and_at_speedup_goes_before_it(classifier):
    model, batch = classifier.make(), classifier.batch(LENGTHS)
    attach(model, dial_for(model))
    full = outputs(classifier, model, batch)
    set_speedup(model, 3.0)
    assert not near(outputs(classifier, model, batch), full)
    with at_speedup(model, 1.0):
        assert near(outputs(classifier, model, batch), full, atol=0)


def test_at_speedup_is_undone_even_by_an_error(classifier):
    model, batch = classifier.make(), classifier.batch(LENGTHS)
    attach(model, dial_for(model))
    full = outputs(classifier, model, batch)
    with pytest.raises(RuntimeError), at_speedup(model, 3.0):
        raise RuntimeError
    assert near(outputs(classifier, model, batch), full, atol=0)


def test_a_deep_copy_has_a_dial_of_its_own(classifier):
    model, batch = classifier.make(), classifier.batch(LENGTHS)
    attach(model, dial_for(model))
    full = outputs(classifier, model, batch)
    twin = copy.deepcopy(model)
    set_speedup(twin, 3.0)
    assert near(outputs(classifier, model, batch), full, atol=0)
    cut = outputs(classifier, twin, batch)
    assert not near(cut, full)
    with at_speedup(model, 3.0):
        assert near(outputs(classifier, model, batch), cut, atol=0)
    plain = outputs(classifier, detach(model), batch)
    assert near(outputs(classifier, detach(twin), batch), plain, atol=0)


def test_attaching_again_replaces_what_was_attached(classifier):
    model, batch = classifier.make(), classifier.batch(LENGTHS)
    plain = outputs(classifier, model, batch)
    attach(attach(model), dial_for(model), speedup=3.0)
    assert not near(outputs(classifier, model, batch), plain)
    assert near(outputs(classifier, detach(model), batch), plain, atol=0)


def test_a_mask_that_is_not_two_dimensional_is_refused():
    model = attach(tiny_bert())
    with pytest.raises(ValueError, match="attention_mask of 4 dimensions"):
        model(**{**batch_of([5]), "attention_mask": torch.ones(1, 1, 5, 5)})


def test_an_unknown_architecture_is_refused_with_what_is_possible():
    known = "bert, roberta, xlm-roberta, camembert, electra, distilbert, albert, modernbert, mpnet, "
    known += "deberta-v2, nomic_bert, gpt2, llama, mistral, qwen2, qwen3, phi3, gemma3_text, t5"
    with pytest.raises(ValueError, match=f"not supported: expected one of {known}$"):
        attach(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("bart", "of encoders that feed a decoder T5's alone eliminates"),
        ("mbart", "of encoders that feed a decoder T5's alone eliminates"),
        ("deberta", "its layers are not those of DeBERTa-v2 and v3"),
    ],
)
def test_some_architectures_are_refused_with_the_reason(model_type, reason):
    model = nn.Linear(2, 2)
    model.config = AutoConfig.for_model(model_type)
    with pytest.raises(ValueError, match=f"model type '{model_type}' is not supported, since {reason}: expected one"):
        attach(model)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra"])
def test_an_encoder_made_a_decoder_is_refused(architecture):
    with pytest.raises(ValueError, match="with is_decoder=true generates text"):
        attach(tiny(architecture, is_decoder=True))


def test_a_dial_for_another_number_of_layers_is_refused(classifier):
    with pytest.raises(ValueError, match="dial is for a model of 4 layers, the model has 3"):
        attach(classifier.make(layers=3), dial_for(classifier.make()))


def test_a_dial_for_another_kind_of_head_is_refused():
    with pytest.raises(ValueError, match="reads pooled positions, BertForTokenClassification reads all: calibrate"):
        attach(tiny("bert", "tagger"), dial_for(tiny("bert")))


def test_a_profile_for_another_number_of_layers_is_refused():
    model = attach(tiny_bert())
    with pytest.raises(ValueError, match="a profile of 3 keep ratios for 4 layers"), at_profile(model, Profile.full(3)):
        pass


def test_set_speedup_needs_an_attached_dial():
    model = tiny_bert()
    with pytest.raises(ValueError, match="not attached"):
        set_speedup(model, 2.0)
    with pytest.raises(ValueError, match="no dial"):
        set_speedup(attach(model), 2.0)


@pytest.mark.parametrize("score", ["random", "position", "recent"])
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_every_control_chooses_without_padding_too(architecture, score):
    model = attach(tiny(architecture))
    batch = batch_of([12, 12])
    with torch.no_grad(), at_profile(model, CUT, score=score):
        assert model(**batch).logits.isfinite().all()
