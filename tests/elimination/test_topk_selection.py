"""Which keys are the top k of a query, and the attention over them, on plain tensors."""

import pytest
import torch

from latadj.elimination import topk_attention as selection
from latadj.elimination.attention import attention
from latadj.elimination.topk_attention import least_by_numpy, least_by_topk, topk_attention, weaker_keys


def states(groups=2, keys=9):
    """Queries of (3, 4 heads, 9, 8), keys and values of ``groups`` heads, and which tokens are real."""
    torch.manual_seed(0)
    query, (key, value) = torch.randn(3, 4, keys, 8), torch.randn(2, 3, groups, keys, 8)
    return query, key, value, torch.arange(keys) < torch.tensor([keys, 5, 2])[:, None]


def naive(query, key, value, seen, counts):
    """Contexts, and (batch, heads, queries, keys) probabilities over the first ``counts`` of the sorted keys."""
    times = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    logits = (query @ key.mT * 0.3).masked_fill(~seen, -torch.inf)
    rank = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    probs = logits.masked_fill(rank >= counts, -torch.inf).softmax(dim=-1)
    return (probs @ value).transpose(1, 2).flatten(2), probs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_of_equally_strong_keys_the_first_count(count, dtype):
    logits = torch.tensor([[1, 5, 5, 1, 5, 1], [2, 2, 2, 2, 2, 2], [0, 1, 2, 3, 4, 5]], dtype=dtype)
    kept = [[1, 2, 4, 0, 3, 5], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]
    weaker = weaker_keys(logits, count)
    assert [sorted(row.nonzero().flatten().tolist()) for row in ~weaker] == [sorted(row[:count]) for row in kept]


def test_what_stands_around_equally_strong_keys_changes_nothing():
    row = torch.tensor([1.0, 3, 3, 3, 0])
    wide = torch.cat([row, torch.full((40,), -9.0)])
    assert torch.equal(weaker_keys(wide[None], 2)[0, :5], weaker_keys(row[None], 2)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_to_find_the_least_chosen_agree(dtype):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 11).to(dtype)
    each = torch.randint(1, 12, (2, 1, 5, 1)).expand(2, 3, 5, 1)
    alike = torch.full((2, 3, 5, 1), 4)
    assert torch.equal(least_by_numpy(logits, each, each), least_by_topk(logits, each))
    assert torch.equal(least_by_numpy(logits, 4, alike), least_by_topk(logits, alike))


@pytest.mark.parametrize("learns", [False, True], ids=["inference", "gradients"])
@pytest.mark.parametrize("workspace", [1, 40, 4 * 9 * 9, 2**20])
@pytest.mark.parametrize("k", [1, 3, 0.4])
@pytest.mark.parametrize("groups", [2, 4])
def test_a_causal_query_selects_among_those_before_it(monkeypatch, groups, k, workspace, learns):
    monkeypatch.setattr(selection, "WORKSPACE", workspace)
    query, key, value, _ = states(groups)
    seen = torch.ones(9, 9, dtype=torch.bool).tril()
    visible = torch.arange(1, 10)[:, None]
    counts = visible.clamp(max=k) if isinstance(k, int) else (k * visible - 1e-6).ceil()
    expected, probs = naive(query, key, value, seen, counts)
    window = torch.tensor([[6, 7, 8], [-1, 0, 1], [2, 3, 5]])
    with torch.set_grad_enabled(learns):
        options = {"causal": True, "observe": True, "window": window}
        context, received = topk_attention(k, query, key, value, None, scale=0.3, **options)
    assert torch.allclose(context, expected, atol=1e-5)
    pairs = zip(probs, window, strict=True)
    from_window = torch.stack([row[:, columns[columns >= 0]].sum(dim=1) for row, columns in pairs])
    assert torch.allclose(received, from_window.view(3, groups, -1, 9).sum(dim=2), atol=1e-5)
    assert not received.requires_grad


@pytest.mark.parametrize("workspace", [1, 40, 2**20])
@pytest.mark.parametrize("k", [1, 3, 0.4])
def test_an_encoder_selects_among_the_real_ones(monkeypatch, k, workspace):
    monkeypatch.setattr(selection, "WORKSPACE", workspace)
    query, key, value, real = states(groups=4)
    bias = torch.randn(1, 4, 9, 9)
    lengths = real.sum(dim=1)[:, None, None, None]
    counts = k if isinstance(k, int) else (k * lengths - 1e-6).ceil()
    logits = (query @ key.mT * 0.3 + bias).masked_fill(~real[:, None, None], -torch.inf)
    rank = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    probs = logits.masked_fill(rank >= counts, -torch.inf).softmax(dim=-1)
    with torch.no_grad():
        context, received = topk_attention(k, query, key, value, real, scale=0.3, bias=bias, observe=True)
    assert torch.allclose(context[real], (probs @ value).transpose(1, 2).flatten(2)[real], atol=1e-5)
    assert torch.allclose(received, (probs * real[:, None, :, None]).sum(dim=2), atol=1e-5)


@pytest.mark.parametrize("k", [9, 20, 1.0])
def test_all_keys_are_the_ordinary_attention_bit_by_bit(k):
    query, key, value, real = states(groups=4)
    context, received = topk_attention(k, query, key, value, real, scale=0.3)
    assert received is None
    assert torch.equal(context, attention(query, key, value, real, scale=0.3)[0])


def test_one_key_is_its_value():
    query, key, value, _ = states(groups=4)
    context, _ = topk_attention(1, query, key, value, None, scale=0.3)
    best = (query @ key.mT).argmax(dim=-1)
    expected = value.gather(2, best[..., None].expand(-1, -1, -1, 8))
    assert torch.allclose(context, expected.transpose(1, 2).flatten(2))


def test_gradients_pass_through_the_chosen_keys_alone():
    query, key, value, _ = states(groups=4)
    value.requires_grad_()
    topk_attention(1, query[:, :, :1], key, value, None, scale=0.3)[0].sum().backward()
    chosen = (query[:, :, :1] @ key.mT).argmax(dim=-1)
    reached = value.grad.abs().sum(dim=-1) > 0
    assert torch.equal(reached, torch.zeros_like(reached).scatter_(2, chosen, True))


def test_dropout_acts_on_the_chosen_probabilities():
    query, key, value, _ = states(groups=4)
    torch.manual_seed(0)
    context = topk_attention(1, query, key, value, None, scale=0.3, dropout=0.5)[0].view(3, 9, 4, 8).transpose(1, 2)
    alone = topk_attention(1, query, key, value, None, scale=0.3)[0].view(3, 9, 4, 8).transpose(1, 2)
    dropped = (context == 0).all(dim=-1)
    assert 0 < int(dropped.sum()) < dropped.numel()
    assert torch.allclose(context[~dropped], 2 * alone[~dropped])
