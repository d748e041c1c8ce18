import numpy as np
import pytest
import torch

from latadj.elimination.attention import received_attention
from latadj.elimination.observed_queries import smoothed, visible_to_window
from latadj.elimination.scores import SCORES, acc, attention, effective_fraction, lead_biased_acc, position, shares
from latadj.elimination.survivors import Survivors


def visible(*counts):
    return torch.tensor([counts])


def test_acc_is_attention_received_weighted_by_the_size_of_the_value():
    probs = torch.tensor([[[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]]])
    values = torch.tensor([[[[1.0, 0.0], [0.0, 4.0], [3.0, 4.0]]]])
    received = received_attention(probs, None)
    raw = torch.tensor([1.5 * 1, 0.75 * 4, 0.75 * 5])
    assert torch.allclose(shares(acc(received, values, visible(3, 3, 3)))[0], raw / raw.sum())
    found = shares(attention(received, values, visible(3, 3, 3)))[0]
    assert torch.allclose(found, torch.tensor([0.5, 0.25, 0.25]))


def test_padding_queries_give_nothing():
    probs = torch.tensor([[[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 1.0, 0.0]]]])
    received = received_attention(probs, torch.tensor([[True, True, False]]))
    assert torch.allclose(received, torch.tensor([[[1.1, 0.9, 0.0]]]))


def test_the_divisor_removes_the_advantage_of_being_seen_by_more_queries():
    received, values = torch.tensor([[[3.0, 2.0, 1.0]]]), torch.ones(1, 1, 3, 2)
    assert torch.allclose(shares(acc(received, values, visible(3, 2, 1))), torch.full((1, 3), 1 / 3))


def test_position_prefers_earlier_ones():
    scores = position(torch.ones(1, 1, 3), torch.ones(1, 1, 3, 2), visible(3, 3, 3))
    assert scores[0].argsort(descending=True).tolist() == [0, 1, 2]


def test_of_tokens_that_contribute_alike_a_lead_bias_prefers_the_earlier_one():
    received, values = torch.tensor([[[6.0, 6.0, 12.0]]]), torch.ones(1, 1, 3, 1)
    scores = lead_biased_acc(received, values, visible(3, 3, 3))
    assert scores[0].tolist() == pytest.approx([2.0, 1.0, 4 / 3])


def test_a_lead_bias_counts_places_without_the_fillers_before_a_text():
    received, values = torch.rand(1, 4, 3), torch.rand(1, 4, 3, 8)
    padded = [torch.nn.functional.pad(received, (2, 0)), torch.nn.functional.pad(values, (0, 0, 2, 0))]
    scores = lead_biased_acc(*padded, visible(0, 0, 3, 3, 3))
    assert torch.equal(scores[:, 2:], lead_biased_acc(received, values, visible(3, 3, 3)))


@pytest.mark.parametrize("score", [acc, attention, lead_biased_acc, position])
def test_a_divisor_that_is_the_same_for_all_changes_nothing(score):
    received, values = torch.rand(2, 4, 5), torch.rand(2, 4, 5, 8)
    divided = score(received, values, torch.full((2, 5), 5))
    assert torch.allclose(shares(score(received, values, None)), shares(divided))


@pytest.mark.parametrize("name", SCORES)
def test_shares_sum_to_one_and_padding_gets_nothing(name):
    received = torch.rand(2, 4, 5)
    counts = torch.tensor([[5, 5, 5, 5, 5], [3, 3, 3, 0, 0]])
    scores = shares(SCORES[name](received * (counts > 0)[:, None], torch.rand(2, 4, 5, 8), counts))
    assert torch.allclose(scores.sum(dim=1), torch.ones(2))
    assert (scores[1, 3:] == 0).all()
    assert (scores[1, :3] > 0).all()


def test_layer_acc_runs_from_one_word_vector_to_all():
    scores = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    assert torch.allclose(effective_fraction(scores, torch.tensor([4, 4, 4])), torch.tensor([0.25, 1.0, 0.5]))


def test_no_more_queries_see_a_token_than_the_window_has():
    entering = Survivors(np.array([7, 5]), None, 7, torch.device("cpu"))
    seen = visible_to_window(entering, np.array([7, 4]), 3)
    # Of the prompts' last three queries: those at a token or after it, and nobody sees a filler.
    assert seen.tolist() == [[3, 3, 3, 3, 3, 2, 1], [3, 3, 2, 1, 0, 0, 0]]


@pytest.mark.parametrize("real", [None, torch.tensor([[True, True, True, False]])], ids=["unpadded", "padded"])
def test_a_score_is_smoothed_over_the_neighbours_that_are_there(real):
    scores = torch.tensor([[1.0, 2.0, 6.0, 99.0]])[:, : None if real is not None else 3]
    found = smoothed(scores, real, 3)[0].tolist()
    assert found[:3] == pytest.approx([1.5, 3.0, 4.0])
    assert found[3:] == ([] if real is None else [0.0])
