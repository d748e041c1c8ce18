"""The fast attention computes what attention is, and what each key receives."""

import pytest
import torch
from helpers.tiny_models import ARCHITECTURES, tiny

from latadj.elimination import attention as attention_module
from latadj.elimination import causal_attention
from latadj.elimination.architectures import architecture_of, distinct_layers
from latadj.elimination.attention import attention, received_from
from latadj.elimination.kernel_rows import MANY_ROWS, kernel_rows


def states(padded):
    """Queries, keys and values of (5, 3 heads, 7, 8), and which of the tokens are real."""
    torch.manual_seed(0)
    lengths = torch.tensor([7, 4, 1, 6, 7] if padded else [7] * 5)
    return *torch.randn(3, 5, 3, 7, 8), torch.arange(7) < lengths[:, None]


def naive(query, key, value, real, scale):
    """Contexts of the real queries, and what each key receives from them."""
    probs = (query @ key.mT * scale).masked_fill(~real[:, None, None, :], -torch.inf).softmax(dim=-1)
    received = (probs * real[:, None, :, None]).sum(dim=2)
    return (probs @ value).transpose(1, 2).flatten(2)[real], received


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("workspace", [1, 2 * 3 * 7 * 7, 2**20], ids=["one by one", "two by two", "at once"])
def test_attention_returns_what_each_key_receives(monkeypatch, workspace, padded):
    query, key, value, real = states(padded)
    monkeypatch.setattr(attention_module, "WORKSPACE", workspace)
    with torch.no_grad():
        mask = real if padded else None
        context, received = attention(query, key, value, mask, scale=0.3, observe=True)
    expected, expected_received = naive(query, key, value, real, scale=0.3)
    assert torch.allclose(context[real], expected, atol=1e-5)
    assert torch.allclose(received, expected_received, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_attention_that_nobody_observes_is_the_same(padded):
    query, key, value, real = states(padded)
    expected, _ = naive(query, key, value, real, scale=0.3)
    context, received = attention(query, key, value, real if padded else None, scale=0.3)
    assert received is None
    assert torch.allclose(context[real], expected, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("read", [False, True])
def test_attention_in_bf16_stays_near_fp32(padded, read):
    query, key, value, real = states(padded)
    expected, expected_received = naive(query, key, value, real, scale=0.3)
    with torch.no_grad():
        context, received = attention(
            *(part.bfloat16() for part in (query, key, value)),
            real if padded else None,
            scale=0.3,
            observe=read,
        )
    assert context.dtype == torch.bfloat16
    assert torch.allclose(context[real].float(), expected, atol=0.05)
    if read:
        assert received.dtype == torch.float32
        assert torch.allclose(received, expected_received, atol=0.05)


def test_one_query_a_sequence_attends_to_every_real_key():
    query, key, value, real = states(padded=True)
    everyone, _ = naive(query, key, value, real, scale=0.3)
    first = torch.cat([torch.zeros(1, dtype=torch.long), real.sum(dim=1).cumsum(0)[:-1]])
    for dtype, near in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        with torch.no_grad():
            alone, _ = attention(*(part.to(dtype) for part in (query[:, :, :1], key, value)), real, scale=0.3)
        assert torch.allclose(alone[:, 0].float(), everyone[first], atol=near)


def causal_states(groups):
    """Queries of (3, 4 heads, 9, 8) and keys of as many or fewer heads."""
    torch.manual_seed(0)
    return torch.randn(3, 4, 9, 8), torch.randn(3, groups, 9, 8)


@pytest.mark.parametrize("workspace", [1, 2**20], ids=["one by one", "at once"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("window", [None, [[6, 7, 8], [-1, 0, 1], [2, 3, 5]]], ids=["all", "some"])
def test_what_keys_of_a_decoder_receive_is_a_sum_of_explicit_probabilities(monkeypatch, workspace, groups, window):
    query, key = causal_states(groups)
    monkeypatch.setattr(attention_module, "WORKSPACE", workspace)
    received = received_from(query, key, None if window is None else torch.tensor(window), 0.3)
    logits = query @ key.repeat_interleave(4 // groups, dim=1).mT * 0.3
    probs = logits.masked_fill(~torch.ones(9, 9, dtype=torch.bool).tril(), -torch.inf).softmax(dim=-1)
    for row in range(3):
        rows = range(9) if window is None else [column for column in window[row] if column >= 0]
        expected = probs[row][:, list(rows)].sum(dim=1)
        expected = expected.view(groups, 4 // groups, 9).sum(dim=1)
        assert torch.allclose(received[row], expected, atol=1e-5)


WINDOWS = {"the last": [[8]] * 3, "some": [[6, 7, 8], [-1, 0, 1], [2, 3, 5]], "all": [list(range(9))] * 3}


@pytest.mark.parametrize("learns", [False, True], ids=["products", "fused"])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("sizes", [(1, 1), (4, 1), (4, 2**20), (64, 2**20)], ids=str)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("groups", [2, 4])
def test_a_causal_query_attends_to_those_before_it(monkeypatch, groups, window, sizes, dtype, near, learns):
    block, workspace = sizes
    monkeypatch.setitem(causal_attention.BLOCK, dtype, block)
    monkeypatch.setattr(causal_attention, "BLOCK_WORKSPACE", workspace)
    query, key = causal_states(groups)
    value, window = torch.randn(3, groups, 9, 8), torch.tensor(window)
    with torch.set_grad_enabled(learns):
        states = [part.to(dtype) for part in (query, key, value)]
        context, received = attention(*states, None, scale=0.3, causal=True, observe=True, window=window)
        alone, _ = attention(*states, None, scale=0.3, causal=True)
    keys, values = (part.repeat_interleave(4 // groups, dim=1) for part in (key, value))
    logits = (query @ keys.mT * 0.3).masked_fill(~torch.ones(9, 9, dtype=torch.bool).tril(), -torch.inf)
    expected = (logits.softmax(dim=-1) @ values).transpose(1, 2).flatten(2)
    assert torch.allclose(context.float(), expected, atol=near)
    assert torch.allclose(alone.float(), expected, atol=near)
    assert torch.allclose(received, received_from(query, key, window, 0.3), atol=near)


def test_a_bias_is_added_to_the_products():
    query, key, value, real = states(padded=True)
    bias = torch.randn(1, 3, 7, 7)
    logits = (query @ key.mT + bias).masked_fill(~real[:, None, None, :], -torch.inf)
    expected = (logits.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
    with torch.no_grad():
        for observe in (False, True):
            context, received = attention(query, key, value, real, scale=1.0, bias=bias, observe=observe)
            assert torch.allclose(context[real], expected[real], atol=1e-5)
    expected_received = (logits.softmax(dim=-1) * real[:, None, :, None]).sum(dim=2)
    assert torch.allclose(received, expected_received, atol=1e-5)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_dropout_of_probabilities_can_be_set_in_every_architecture(model_type):
    model = tiny(model_type).train()
    architecture = architecture_of(model)
    for layer in distinct_layers(model):
        own = architecture.attention(layer)[1]
        assert architecture.drop_attention(layer, 0.25) == own != 0.25
        assert architecture.attention(layer)[1] == 0.25
    model.eval()
    assert {architecture.attention(layer)[1] for layer in distinct_layers(model)} == {0.0}


def test_kernels_meet_few_numbers_of_rows_and_compute_few_too_many():
    counts = range(1, 5000)
    assert all(count <= kernel_rows(count) <= count * 1.25 for count in counts)
    assert all(kernel_rows(count) <= count * 17 / 16 for count in counts if count > 256)
    assert all(kernel_rows(kernel_rows(count)) == kernel_rows(count) for count in counts)
    rounded = {1: 1, MANY_ROWS: MANY_ROWS, 65: 80, 300: 304, 700: 704, 768: 768, 4001: 4096}
    assert {count: kernel_rows(count) for count in rounded} == rounded
    assert len({kernel_rows(count) for count in counts}) < 200


@pytest.mark.parametrize("keys", [1, 9, 15, 16, 17])
def test_a_softmax_over_few_keys_is_the_same(keys):
    torch.manual_seed(0)
    logits = torch.randn(3, 5, keys)
    logits[0, :, 0] = torch.finfo(torch.float32).min  # a filler
    with torch.inference_mode():
        found = attention_module._softmax(logits)
    assert torch.allclose(found, logits.softmax(dim=-1), atol=1e-7)
    assert found.shape == logits.shape
