"""`generate` with every architecture that generates, plain and with elimination."""

import threading
import warnings
from contextlib import ExitStack

import pytest
import torch
from helpers.tiny_models import CUT, DECODERS, FULL, Case, dial_for
from transformers import GenerationConfig

from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile, at_speedup
from latadj.elimination.observation_window import ObservationWindow

WAYS = {"greedy": {"do_sample": False}, "sampling": {"do_sample": True}, "beams": {"do_sample": False, "num_beams": 3}}
TEXTS = {"unpadded": [14, 14], "padded": [14, 9, 5]}


@pytest.fixture(params=[Case(architecture, "language") for architecture in (*DECODERS, "t5")], ids=str)
def case(request):
    return request.param


@pytest.fixture(params=TEXTS.values(), ids=TEXTS)
def texts(request):
    return request.param


def batch_of(case, lengths):
    batch = case.batch(lengths, side="left")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def new_tokens(model, batch, **options):
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.generate(**batch, **{"max_new_tokens": 8, "eos_token_id": None, **options})
    return found if model.config.is_encoder_decoder else found[:, batch["input_ids"].shape[1] :]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_keeping_all_generates_what_the_plain_model_generates(case, texts, way):
    model, batch = case.make(), batch_of(case, texts)
    plain = new_tokens(model, batch, **way)
    assert torch.equal(new_tokens(attach(model), batch, **way), plain)


@pytest.mark.parametrize("way", ["greedy", "beams"])
def test_each_prompt_of_a_padded_batch_generates_what_it_generates_alone(case, way):
    model, batch = attach(case.make()), batch_of(case, TEXTS["padded"])
    full = new_tokens(model, batch, **WAYS[way])
    with at_profile(model, CUT):
        together = new_tokens(model, batch, **WAYS[way])
        for row in range(len(together)):
            assert torch.equal(new_tokens(model, case.row(batch, row), **WAYS[way])[0], together[row])
    assert not torch.equal(together, full)


@torch.no_grad()
def test_what_is_generated_is_the_best_next_token_at_every_step(case, texts):
    """Greedy search against passes over the prompt and all that was generated."""
    model, batch = attach(case.make()), batch_of(case, texts)
    window = (
        ObservationWindow()
        if case.architecture == "t5"
        else ObservationWindow(window_size=3, sink_tokens=1, recent_ratio=0.3)
    )
    with at_profile(model, CUT, window=window):
        found = new_tokens(model, batch, **WAYS["greedy"])
    if case.architecture == "t5":
        with at_profile(model, CUT):
            logits = model(**batch, decoder_input_ids=found[:, :-1]).logits
        assert torch.equal(logits.argmax(dim=-1), found[:, 1:])
        return
    ids = torch.cat([batch["input_ids"], found[:, :-1]], dim=1)
    mask = torch.cat([batch["attention_mask"], torch.ones_like(found[:, :-1])], dim=1)
    with at_profile(model, CUT, window=window, prompt=batch["attention_mask"].sum(dim=1).tolist()):
        logits = model(ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits
    assert torch.equal(logits[:, -found.shape[1] :].argmax(dim=-1), found)


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
def test_candidates_of_assisted_generation_are_no_part_of_the_prompt(case, profile):
    model = attach(case.make())
    batch = {"input_ids": torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6, 7]])}
    with at_profile(model, profile):
        alone = new_tokens(model, batch, **WAYS["greedy"])
        assisted = new_tokens(model, batch, prompt_lookup_num_tokens=3, **WAYS["greedy"])
    assert torch.equal(alone, assisted)


@pytest.mark.parametrize("profiles", [(None, CUT), (FULL, CUT), (CUT, CUT), (CUT, None)], ids=str)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_an_assistant_model_changes_nothing(architecture, profiles):
    case, (own, assisting) = Case(architecture, "language"), profiles
    model, assistant = case.make(), case.make()
    torch.manual_seed(0)
    for weight in assistant.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    batch = {"input_ids": torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6, 7]])}
    with ExitStack() as stack:
        for one, profile in ((model, own), (assistant, assisting)):
            if profile is not None:
                stack.enter_context(at_profile(attach(one), profile))
        alone = new_tokens(model, batch, **WAYS["greedy"])
        assert torch.equal(new_tokens(model, batch, assistant_model=assistant, **WAYS["greedy"]), alone)


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
def test_a_model_assists_itself_by_its_first_layers(profile):
    model, batch = attach(Case("llama", "language").make()), {"input_ids": torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7]])}
    with at_profile(model, profile):
        alone = new_tokens(model, batch, **WAYS["greedy"])
        assert torch.equal(new_tokens(model, batch, assistant_early_exit=2, **WAYS["greedy"]), alone)


@pytest.mark.parametrize("how", ["option", "config", "own config"])
@pytest.mark.parametrize("architecture", DECODERS)
def test_without_a_cache_generated_tokens_would_be_eliminated_which_is_refused(architecture, how):
    case = Case(architecture, "language")
    model, batch = case.make(), batch_of(case, TEXTS["padded"])
    plain = new_tokens(model, batch, use_cache=False, **WAYS["greedy"])
    attach(model)
    options = {"use_cache": False}
    if how == "config":
        options = {"generation_config": GenerationConfig(use_cache=False, pad_token_id=0)}
    elif how == "own config":
        model.generation_config.use_cache, options = False, {}
    assert torch.equal(new_tokens(model, batch, **options, **WAYS["greedy"]), plain)
    with pytest.raises(ValueError, match=r"use_cache=False: .*: leave use_cache out, or"), at_profile(model, CUT):
        new_tokens(model, batch, **options, **WAYS["greedy"])
    assert detach(model).generate.__func__ is type(model).generate


def test_threads_that_generate_at_two_speedups_do_not_meet(case):
    model, batch = case.make(), batch_of(case, TEXTS["padded"])
    attach(model, dial_for(model))
    expected = {}
    for speedup in (1.0, 2.0):
        with at_speedup(model, speedup):
            expected[speedup] = new_tokens(model, batch, **WAYS["greedy"])
    start, wrong = threading.Barrier(2), []

    def work(speedup):
        with at_speedup(model, speedup):
            start.wait()
            for _ in range(3):
                found = model.generate(**batch, max_new_tokens=8, eos_token_id=None, **WAYS["greedy"])
                if not torch.equal(found[:, -8:], expected[speedup][:, -8:]):
                    wrong.append(speedup)

    threads = [threading.Thread(target=work, args=(speedup,)) for speedup in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torch.equal(*expected.values())
    assert wrong == []
