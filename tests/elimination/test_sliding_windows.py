"""Sliding-window attention: a window counts positions of the text, whoever of them is left, in prefill and decoding."""

import copy

import pytest
import torch
from conftest import batch_of
from helpers.masked_reference import masked, survivors_of
from helpers.tiny_models import CUT, FULL, LENGTHS, near, tiny
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from latadj.elimination import attention as attention_module
from latadj.elimination import causal_attention
from latadj.elimination.attach import attach, detach
from latadj.elimination.attention import attention, received_from
from latadj.elimination.cache import ShortLayer
from latadj.elimination.current_setting import at_profile, protecting
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.observed_queries import visible_to_window
from latadj.elimination.profiles import Profile
from latadj.elimination.sliding_window import SlidingWindow
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk_attention import topk_attention

UPPER = {"use_sliding_window": True, "max_window_layers": 2}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"] * 2, "use_sliding_window": True}
# By how a config says which layers have a window.
MODELS = {
    "all of a Mistral": ("mistral", {}),
    "all of a Mistral, whatever they are called": ("mistral", {"layer_types": ["full_attention"] * 4}),
    "all of a Phi-3": ("phi3", {}),
    "upper of a Qwen2": ("qwen2", UPPER),
    "some of a Qwen3": ("qwen3", ALTERNATING),
}
PROMPT, ALL = 14, 20
WINDOW = ObservationWindow(window_size=4, sink_tokens=2, recent_ratio=0.3)


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def make(request):
    architecture, options = request.param
    return lambda head="language", reach=5: tiny(architecture, head, **options, sliding_window=reach)


def part(batch, start, stop):
    """Some columns of a batch, with the mask of all up to there."""
    return {name: tensor[:, 0 if name == "attention_mask" else start : stop] for name, tensor in batch.items()}


@pytest.mark.parametrize("reach", [1, 2, 5, 22, 23, 40])
@torch.no_grad()
def test_keeping_all_equals_the_plain_model_whatever_the_width(make, reach):
    model = make("tagger", reach)
    for side in ("right", "left"):
        batch = batch_of(LENGTHS, side=side)
        real = batch["attention_mask"].bool()
        plain = model(**batch).logits[real]
        with at_profile(attach(model), FULL, score_observer=lambda *_: None):
            assert near([model(**batch).logits[real]], [plain])
        detach(model)


@pytest.mark.parametrize("window", [ObservationWindow(), WINDOW], ids=["whole", "window"])
@torch.no_grad()
def test_those_who_stay_see_what_a_mask_at_their_positions_lets_them_see(make, window):
    model = make("tagger")
    batch = batch_of(LENGTHS, side="left")
    real = batch["attention_mask"].bool()
    run = lambda: model(**batch).logits[real]  # noqa: E731
    ours, alive = survivors_of(attach(model), batch["attention_mask"], CUT, run, window=window)
    detach(model)
    with masked(model, alive):
        assert near([ours], [run()])


@pytest.mark.parametrize(("reach", "sees"), [(5, False), (9, False), (40, True)])
def test_a_window_counts_positions_of_the_text_and_not_survivors(reach, sees):
    model = attach(tiny("mistral", "tagger", sliding_window=reach))
    ids = batch_of([40])["input_ids"]
    # The first layer lets go of all but the first token and the last five, which are neighbours from then on.
    protect = torch.zeros(1, 40, dtype=torch.bool)
    protect[0, [0, *range(35, 40)]] = True
    with torch.no_grad(), protecting(model, protect), at_profile(model, Profile((6 / 40,) * 4)):
        before = model(input_ids=ids).logits[0, 35:]
        ids[0, 0] += 1
        after = model(input_ids=ids).logits[0, 35:]
    assert bool((after != before).any()) == sees


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
@pytest.mark.parametrize("lengths", [[20], [20, 20], [20, 13, 7]], ids=["one", "unpadded", "left-padded"])
@pytest.mark.parametrize("reach", [3, 9, 16])
@torch.no_grad()
def test_steps_over_a_cache_equal_one_pass_over_all(make, lengths, profile, reach):
    model, batch = attach(make(reach=reach)), batch_of(lengths, side="left")
    with at_profile(model, profile):
        prefill = model(**part(batch, 0, PROMPT), use_cache=True, logits_to_keep=1)
        cache = prefill.past_key_values
        chunk = model(**part(batch, PROMPT, ALL), past_key_values=copy.deepcopy(cache), use_cache=True).logits
        steps = [prefill.logits]
        for column in range(PROMPT, ALL):
            steps.append(model(**part(batch, column, column + 1), past_key_values=cache, use_cache=True).logits)
    with at_profile(model, profile, prompt=batch["attention_mask"][:, :PROMPT].sum(dim=1).tolist()):
        at_once = model(**batch, use_cache=False).logits[:, PROMPT - 1 :]
    assert near([torch.cat(steps, dim=1)], [at_once])
    assert near([chunk], [at_once[:, 1:]])


@torch.no_grad()
def test_a_prompt_that_nobody_leaves_is_cached_as_transformers_caches_it(make):
    model, batch = make(), batch_of([PROMPT])
    plain = model(**batch, use_cache=True, logits_to_keep=1).past_key_values
    found = attach(model)(**batch, use_cache=True, logits_to_keep=1).past_key_values
    assert [type(layer) for layer in found.layers] == [type(layer) for layer in plain.layers]
    for ours, theirs in zip(found.layers, plain.layers, strict=True):
        assert near([ours.keys, ours.values], [theirs.keys, theirs.values])
    step = torch.tensor([[7]])
    assert near([detach(model)(step, past_key_values=found).logits], [model(step, past_key_values=plain).logits])


@torch.no_grad()
def test_a_layer_of_survivors_holds_no_more_than_its_window_may_see(make):
    model = attach(make())
    with at_profile(model, Profile((0.9, 0.8, 0.7, 0.7))):
        cache = model(**batch_of([40]), use_cache=True, logits_to_keep=1).past_key_values
    assert not any(isinstance(layer, DynamicSlidingWindowLayer) for layer in cache.layers)
    assert type(cache.layers[0]) is DynamicLayer
    slides = [layer.self_attn.config.sliding_window for layer in model.model.layers]
    if hasattr(model.model.layers[0].self_attn, "sliding_window"):
        slides = [layer.self_attn.sliding_window for layer in model.model.layers]
    held = [layer.get_seq_length() for layer in cache.layers]
    assert held == [40, *(5 if reach else count for reach, count in zip(slides[1:], (36, 32, 28), strict=True))]


@torch.no_grad()
def test_a_cache_that_was_made_for_a_window_is_one_for_survivors_while_it_is_empty():
    model, batch = attach(tiny("mistral", "language")), batch_of([PROMPT, 9], side="left")
    with at_profile(model, CUT):
        expected = model(**batch, use_cache=True, logits_to_keep=1).past_key_values
        given = DynamicCache(config=model.config)
        given.activate_past_recording()
        model(**batch, past_key_values=given, logits_to_keep=1)
    assert all(isinstance(layer, ShortLayer) for layer in given.layers[1:])
    for ours, theirs in zip(given.layers, expected.layers, strict=True):
        assert near([ours.keys, ours.values], [theirs.keys, theirs.values], atol=0)


def gapped():
    """Positions of 9 survivors of texts of 30, with two fillers in the second."""
    generator = torch.Generator().manual_seed(2)
    places = [torch.randperm(30, generator=generator)[:9].sort().values for _ in range(3)]
    places[1][7:] = 30
    return torch.stack(places)


def seen_at(positions, reach):
    return torch.ones(9, 9, dtype=torch.bool).tril() & (positions[:, :, None] - positions[:, None] < reach)


@pytest.mark.parametrize("learns", [False, True], ids=["products", "fused"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("sizes", [(1, 1), (4, 1), (4, 2**20), (64, 2**20)], ids=str)
@pytest.mark.parametrize("reach", [1, 4, 11, 30])
@pytest.mark.parametrize("shared", [False, True], ids=["own positions", "shared positions"])
def test_a_query_attends_to_those_within_its_window(monkeypatch, shared, reach, sizes, dtype, tolerance, learns):
    block, workspace = sizes
    monkeypatch.setitem(causal_attention.BLOCK, dtype, block)
    monkeypatch.setattr(causal_attention, "BLOCK_WORKSPACE", workspace)
    monkeypatch.setattr(attention_module, "WORKSPACE", workspace)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 4, 9, 8), torch.randn(3, 2, 9, 8), torch.randn(3, 2, 9, 8)
    positions = gapped()[:1] if shared else gapped()
    sliding, window = SlidingWindow(reach, positions), torch.tensor([[6, 7, 8], [-1, 0, 1], [2, 3, 5]])
    with torch.set_grad_enabled(learns):
        states = [part.to(dtype) for part in (query, key, value)]
        options = {"scale": 0.3, "causal": True, "observe": True, "window": window, "sliding": sliding}
        context, received = attention(*states, None, **options)
        everyone, _ = topk_attention(9, *states, None, **options)
        chosen, _ = topk_attention(2, *states, None, **options)
    keys, values = (part.repeat_interleave(2, dim=1) for part in (key, value))
    logits = (query @ keys.mT * 0.3).masked_fill(~seen_at(positions, reach)[:, None], -torch.inf)
    expected = (logits.softmax(dim=-1) @ values).transpose(1, 2).flatten(2)
    assert torch.allclose(context.float(), expected, atol=tolerance)
    assert torch.allclose(everyone.float(), expected, atol=tolerance)
    assert torch.allclose(received, received_from(query, key, window, 0.3, sliding), atol=tolerance)
    picked = torch.zeros(3, 9)
    for row, columns in enumerate(window.tolist()):
        picked[row, [column for column in columns if column >= 0]] = 1
    by_key = (logits.softmax(dim=-1) * picked[:, None, :, None]).sum(dim=2).unflatten(1, (2, 2)).sum(dim=2)
    assert torch.allclose(received, by_key, atol=tolerance)
    if dtype == torch.float32:
        least = logits.topk(2, dim=-1).values[..., -1:]
        expected = (logits.masked_fill(logits < least, -torch.inf).softmax(dim=-1) @ values).transpose(1, 2).flatten(2)
        assert torch.allclose(chosen, expected, atol=tolerance)


def test_a_token_is_seen_by_those_that_it_is_near_enough_to():
    positions, prompts = gapped(), [9, 7, 8]
    counts = torch.tensor([9, 7, 9])
    origin = torch.cat([positions[row, :count] + 30 * row for row, count in enumerate(counts)])
    entering = Survivors(counts.numpy(), origin, 30, torch.device("cpu"))
    assert torch.equal(entering.positions, positions)
    seen = visible_to_window(entering, torch.tensor(prompts).numpy(), 9, SlidingWindow(11, positions))
    real = torch.arange(9) < torch.tensor(prompts)[:, None]
    expected = (seen_at(positions, 11) & real[:, :, None]).sum(dim=1) * (torch.arange(9) < counts[:, None])
    assert torch.equal(seen, expected)


def test_the_last_queries_do_not_judge_tokens_that_they_cannot_see():
    """A window of the last 4 queries would see 8 of 40 tokens, and all others would have no score."""
    model, scores = attach(tiny("mistral", "language", sliding_window=5)), []
    observer = lambda layer, found, *_: scores.append(found)  # noqa: E731
    with torch.no_grad(), at_profile(model, FULL, window=WINDOW, score_observer=observer):
        model(**batch_of([40]), logits_to_keep=1)
    assert len(scores) == 4
    assert all((found > 0).all() for found in scores)
