"""Distillation of the state that a head reads."""

import pytest
import torch
from helpers import toy_project as toy
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, BertConfig

from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.tasks.outputs.logits import Outputs, TokenOutputs
from latadj.training.head_state import HeadStates, read_with_states

IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 9, 8, 3, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}


@pytest.fixture
def model(tmp_path):
    return attach(AutoModelForSequenceClassification.from_pretrained(toy.write_model(tmp_path / "model")).eval())


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_the_state_behind_the_logits_is_what_the_head_made_them_of(model, keep):
    outputs, layers = HeadStates(model.config.num_labels, 1.0), model.config.num_hidden_layers
    with torch.no_grad(), at_profile(model, Profile((keep,) * layers)):
        both, logits = outputs(model, BATCH), Outputs()(model, BATCH)
        state = both[:, model.config.num_labels :]
        pooled = model.bert.pooler(state[:, None])
        assert torch.equal(both[:, : model.config.num_labels], logits)
        assert torch.allclose(model.classifier(pooled), logits, atol=1e-6)


def test_the_divergence_is_that_of_the_logits_and_the_share_by_which_states_differ():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 2 + 8), torch.randn(4, 2 + 8)
    apart = (student[:, 2:] - teacher[:, 2:]).square().sum() / teacher[:, 2:].square().sum()
    expected = Outputs().divergence(student[:, :2], teacher[:, :2]) + 3 * apart
    assert torch.allclose(HeadStates(2, 3.0).divergence(student, teacher), expected)
    assert HeadStates(2, 3.0).divergence(teacher, teacher) == 0


def test_the_task_is_learnt_from_the_logits_alone():
    outputs, labels = torch.randn(4, 2 + 8), torch.tensor([0, 1, 1, 0])
    assert HeadStates(2, 1.0).loss(outputs, {"labels": labels}) == functional.cross_entropy(outputs[:, :2], labels)


def test_states_are_read_where_both_models_have_them_alike(model, tmp_path):
    wide = BertConfig(**{**model.config.to_dict(), "hidden_size": 64})
    other = AutoModelForSequenceClassification.from_config(wide)
    tagger = attach(AutoModelForTokenClassification.from_pretrained(toy.write_model(tmp_path / "tagger")))
    assert isinstance(read_with_states(Outputs(), model, model, 1.0), HeadStates)
    for outputs, teacher, weight in (
        (Outputs(), model, 0.0),
        (Outputs(), attach(other), 1.0),
        (Outputs(), tagger, 1.0),
        (TokenOutputs(), model, 1.0),
    ):
        assert read_with_states(outputs, model, teacher, weight) is outputs
