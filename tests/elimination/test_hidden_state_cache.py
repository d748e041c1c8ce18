"""A pass that starts above the layers that did not change gives what the whole pass gives."""

from contextlib import contextmanager

import pytest
import torch
from conftest import tiny_bert
from helpers.tiny_models import CUT, LENGTHS, batch_of

from latadj.elimination.architectures import layers_of
from latadj.elimination.attach import attach, set_topk_attention
from latadj.elimination.current_setting import at_profile, starting_at
from latadj.elimination.patching import HiddenStateCache
from latadj.elimination.topk_setting import TopKAttention
from latadj.pruning import PruningUnit, without

LAYER = 2
ABOVE = [PruningUnit("attention", LAYER), PruningUnit("feed_forward", LAYER)]


@contextmanager
def refusing(layers):
    """Let layers fail as soon as they compute anything."""

    def fail(*_):
        raise AssertionError("this layer ran")

    hooks = [part.register_forward_pre_hook(fail) for layer in layers for part in layer.modules() if part is not layer]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def said(case, model, batch, bf16=False):
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        return case.outputs(model, batch)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("topk", [False, True], ids=["full", "topk"])
def test_a_later_pass_is_the_whole_pass_to_the_bit_without_running_the_layers_below(case, topk, bf16):
    model, batch, cache = attach(case.make()), case.batch(LENGTHS), HiddenStateCache(LAYER)
    if topk:
        set_topk_attention(model, TopKAttention.full(4).at(1, 3).at(3, 3))
    with starting_at(model, cache):
        first = said(case, model, batch, bf16)
    with without(model, ABOVE[:1]), starting_at(model, HiddenStateCache(0)):
        whole = said(case, model, batch, bf16)
    # T5's first layer holds the bias of all, which every pass asks for.
    below = [
        layer for layer in layers_of(model)[:LAYER] if case.architecture != "t5" or layer is not layers_of(model)[0]
    ]
    with without(model, ABOVE[:1]), refusing(below), starting_at(model, cache):
        again = said(case, model, batch, bf16)
    assert all(torch.equal(*pair) for pair in zip(again, whole, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(again, first, strict=True))


def test_the_first_pass_is_one_without_an_entry(case):
    model, batch = attach(case.make()), case.batch(LENGTHS)
    plain = said(case, model, batch)
    with starting_at(model, HiddenStateCache(LAYER)):
        noted = said(case, model, batch)
    for pair in zip(noted, plain, strict=True):
        torch.testing.assert_close(*pair, rtol=0, atol=1e-5)


def test_a_pass_that_eliminates_starts_with_the_first_layer():
    model = attach(tiny_bert())
    with (
        at_profile(model, CUT),
        pytest.raises(ValueError, match="starts with the first layer"),
        starting_at(model, HiddenStateCache(LAYER)),
    ):
        model(**batch_of(LENGTHS))
