from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers.tiny_language_models import LANGUAGE_MODELS, rows_of_lengths

from latadj.benchmark.generation_timer import (
    GenerationTimes,
    TimedModel,
    cache_bytes,
    cached_lengths,
    decode,
    prefill,
    time_generation,
)

CPU = torch.device("cpu")
PROMPTS = [row["input_ids"] for row in rows_of_lengths([7, 5], [1, 1])]


@pytest.fixture(params=LANGUAGE_MODELS)
def model(request):
    return LANGUAGE_MODELS[request.param]()


def test_prefill_and_decoding_give_the_tokens_of_generate(model):
    prompt = torch.tensor(PROMPTS[:1])
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=6, do_sample=False)
    started = prefill(model, prompt)
    assert decode(model, started, 5) == expected[0, -6:].tolist()


def test_the_cache_counts_keys_and_values_of_all_layers():
    # layers * (keys and values) * heads * tokens * width of a head * bytes of a float
    llama = prefill(LANGUAGE_MODELS["llama"](), torch.tensor(PROMPTS[:1])).cache
    assert cache_bytes(llama) == 3 * 2 * 2 * 7 * 8 * 4
    t5 = prefill(LANGUAGE_MODELS["t5"](), torch.tensor(PROMPTS[:1])).cache
    assert cache_bytes(t5) == 3 * 2 * 4 * (7 + 1) * 8 * 4
    assert cached_lengths(llama) == cached_lengths(t5) == [7, 7, 7]


def test_a_layer_that_holds_fewer_word_vectors_counts_fewer():
    started = prefill(LANGUAGE_MODELS["gpt2"](), torch.tensor(PROMPTS[:1]))
    whole = cache_bytes(started.cache)
    last = started.cache.layers[-1]
    last.keys, last.values = last.keys[:, :, :3], last.values[:, :, :3]
    assert cached_lengths(started.cache) == [7, 7, 3]
    assert cache_bytes(started.cache) == whole * (7 + 7 + 3) // 21


def test_variants_are_timed_in_their_context_on_every_prompt(model):
    turned = []

    @contextmanager
    def at_two():
        turned.append("in")
        yield
        turned.append("out")

    steps = []
    variants = {"plain": TimedModel(model), "2x": TimedModel(model, at_two)}
    times = time_generation(variants, PROMPTS, steps=3, rounds=3, warmup=1, device=CPU, advance=lambda: steps.append(1))
    for seconds in (times.first_token, times.decoding):
        assert {name: values.shape for name, values in seconds.items()} == {"plain": (3, 2), "2x": (3, 2)}
        assert all((values > 0).all() for values in seconds.values())
    # A first token, then a prefill and its decoding, for each of two prompts in each of four rounds.
    assert turned == ["in", "out"] * (4 * 2 * 3)
    assert len(steps) == 2 * (3 + 1)
    assert times.cache_bytes["2x"] == times.cache_bytes["plain"]
    assert times.cache_bytes["plain"] == [cache_bytes(prefill(model, torch.tensor([ids])).cache) for ids in PROMPTS]


def test_every_decoding_starts_from_the_cache_as_a_prefill_left_it(model, monkeypatch):
    seen = []

    def watched(model, started, steps):
        seen.append(cache_bytes(started.cache))
        return decode(model, started, steps)

    monkeypatch.setattr("latadj.benchmark.generation_timer.decode", watched)
    time_generation({"plain": TimedModel(model)}, PROMPTS[:1], steps=4, rounds=3, warmup=0, device=CPU)
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_tokens_a_second_are_those_of_the_median_round():
    seconds = np.array([[1.0, 1.0], [2.0, 3.0], [9.0, 9.0]])
    assert GenerationTimes(10, {}, {"2x": seconds}).tokens_per_s("2x") == 2 * 10 / 5
