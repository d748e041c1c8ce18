"""Decoders: what follows a prompt goes on as after the same prompt with the same survivors, in whatever steps."""

import copy

import pytest
import torch
from conftest import use_checkpointing
from helpers.layer_states import layer_states
from helpers.masked_reference import masked, survivors_of
from helpers.tiny_models import CUT, DECODERS, FULL, LENGTHS, WINDOWS, Case, batch_of, near, tiny
from transformers import DynamicCache

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.profiles import Profile
from latadj.elimination.scores import shares

WINDOW = ObservationWindow(window_size=4, sink_tokens=2, recent_ratio=0.3)
# Texts of a prompt of 14 columns and a continuation of 6; the second has padding on its left.
PROMPT, ALL = 14, 20
TEXTS = {"unpadded": [20, 20], "left-padded": [20, 13, 7]}


@pytest.fixture(params=DECODERS)
def architecture(request):
    return request.param


@pytest.fixture(params=TEXTS.values(), ids=TEXTS)
def batch(request):
    return batch_of(request.param, side="left")


def part(batch, start, stop):
    """Some columns of a batch, with the mask of all up to there."""
    return {name: tensor[:, 0 if name == "attention_mask" else start : stop] for name, tensor in batch.items()}


def prompts(batch):
    return batch["attention_mask"][:, :PROMPT].sum(dim=1).tolist()


@pytest.mark.parametrize("window", [ObservationWindow(), WINDOW], ids=["whole", "window"])
@torch.no_grad()
def test_steps_and_a_chunk_over_the_short_cache_equal_one_pass_over_prompt_and_continuation(
    architecture, batch, window
):
    model = attach(tiny(architecture, "language"))
    with at_profile(model, CUT, window=window):
        prefill = model(**part(batch, 0, PROMPT), use_cache=True, logits_to_keep=1)
        cache = prefill.past_key_values
        chunk = model(**part(batch, PROMPT, ALL), past_key_values=copy.deepcopy(cache), use_cache=True).logits
        steps = [prefill.logits]
        for column in range(PROMPT, ALL):
            steps.append(model(**part(batch, column, column + 1), past_key_values=cache, use_cache=True).logits)
    held = [layer.get_seq_length() for layer in cache.layers]
    assert held[0] == ALL
    assert held == sorted(held, reverse=True)
    assert held[-1] < PROMPT
    with at_profile(model, CUT, window=window, prompt=prompts(batch)):
        at_once = model(**batch, use_cache=False).logits[:, PROMPT - 1 :]
    assert near([torch.cat(steps, dim=1)], [at_once])
    assert near([chunk], [at_once[:, 1:]])


@torch.no_grad()
def test_layers_of_one_width_have_masks_of_their_own(architecture):
    """Of prompts of 9 and 5 tokens the second layer holds 6 and 4, the third 6 and 3."""
    wide = {"sliding_window": 64} if architecture in WINDOWS else {}  # or it would hold fewer
    model = attach(tiny(architecture, "language", **wide))
    batch, profile = batch_of([15, 11], side="left"), Profile((0.65, 0.6, 0.6, 0.6))
    with at_profile(model, profile):
        cache = model(**part(batch, 0, 9), use_cache=True, logits_to_keep=1).past_key_values
        assert [layer.get_seq_length() for layer in cache.layers[1:3]] == [6, 6]
        chunk = model(**part(batch, 9, 15), past_key_values=cache, use_cache=True).logits
    with at_profile(model, profile, prompt=[9, 5]):
        assert near([chunk], [model(**batch, use_cache=False).logits[:, 9:]])


@torch.no_grad()
def test_prompt_and_continuation_in_one_pass_equal_masking(architecture, batch):
    model = attach(tiny(architecture, "language"))
    options = {"window": WINDOW, "prompt": prompts(batch)}
    run = lambda: model(**batch).logits[:, PROMPT - 1 :]  # noqa: E731
    ours, alive = survivors_of(model, batch["attention_mask"], CUT, run, **options)
    detach(model)
    plain = run()
    with masked(model, alive):
        assert near([ours], [run()])
    assert not near([ours], [plain])


@torch.no_grad()
def test_a_head_that_reads_the_last_columns_takes_what_stands_before_them_for_the_prompt(architecture, batch):
    model = attach(tiny(architecture, "language"))
    kept = ALL - PROMPT + 1
    with at_profile(model, CUT, window=WINDOW):
        found = model(**batch, logits_to_keep=kept).logits
    with at_profile(model, CUT, window=WINDOW, prompt=prompts(batch)):
        assert near([found], [model(**batch).logits[:, -kept:]], atol=0)


@torch.no_grad()
def test_the_protected_stay_and_no_continuation_is_eliminated(architecture, batch):
    model = attach(tiny(architecture, "language"))
    options = {"window": ObservationWindow(window_size=4, sink_tokens=2, recent_ratio=0.5), "prompt": prompts(batch)}
    profile = Profile((0.9, 0.7, 0.5, 0.5))
    _, alive = survivors_of(model, batch["attention_mask"], profile, lambda: model(**batch, use_cache=False), **options)
    for layer, (ratio, stayed) in enumerate(zip(profile.keep, alive[1:-1], strict=False)):
        for row, prompt in enumerate(prompts(batch)):
            first = ALL - int(batch["attention_mask"][row].sum())
            places = -int(-ratio * prompt // 1)
            recent = max(-int(-0.5 * places // 1), 1)
            assert stayed[row, PROMPT:].all(), layer
            assert stayed[row, PROMPT - recent : PROMPT].all(), layer
            assert stayed[row, first : first + min(2, places - recent)].all(), layer
            assert int(stayed[row, :PROMPT].sum()) == places


@pytest.mark.parametrize("keep", [0.37, 0.14, 0.02])
@torch.no_grad()
def test_a_short_prompt_has_the_same_survivors_alone_and_in_a_batch(architecture, keep):
    """With fewer places than sinks, the first sinks stay, whatever the width of the batch."""
    model = attach(tiny(architecture, "language"))
    window, profile = ObservationWindow(sink_tokens=4, recent_ratio=0.3), Profile((keep,) * 4)
    batch = batch_of([40, 7, 20, 5], side="left")
    with at_profile(model, profile, window=window):
        together = model(**batch, logits_to_keep=1, use_cache=False).logits
        for row, length in enumerate([40, 7, 20, 5]):
            own = {name: tensor[row : row + 1, -length:] for name, tensor in batch.items()}
            assert near([model(**own, logits_to_keep=1, use_cache=False).logits], [together[row : row + 1]])


@pytest.mark.parametrize("head", ["language", "classifier"])
@torch.no_grad()
def test_what_is_no_number_is_not_hidden(architecture, head):
    model = tiny(architecture, head)
    batch = batch_of([9, 9])
    model.get_input_embeddings().weight[batch["input_ids"][0, 3]] = torch.nan
    attach(model)
    with at_profile(model, Profile((0.5, 0.3, 0.2, 0.2))):
        logits = model(**batch, **({"logits_to_keep": 1} if head == "language" else {})).logits
    assert logits[0].isnan().any()


def test_a_position_that_more_queries_see_is_divided_by_as_many(architecture):
    """With attention alone as the score and equal attention for all, every position has the same share."""
    model = tiny(architecture, "language")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(part in name for part in ("c_attn", "q_proj", "qkv_proj", "q_norm")):
                weight.zero_()
    attach(model)
    seen = []
    batch = batch_of([6])

    def observer(layer, scores, real, lengths):
        seen.append(scores)

    with torch.no_grad(), at_profile(model, FULL, score="attention", score_observer=observer):
        model(**batch, logits_to_keep=1)
    # Query i gives the same to each of those it sees; key j is seen by itself and later ones, as far as they see.
    for layer, scores in zip(layers_of(model), seen, strict=True):
        sees = architecture_of(model).reach(layer) or 6
        asking = [range(key, min(key + sees, 6)) for key in range(6)]
        received = torch.tensor([sum(1 / min(i + 1, sees) for i in queries) / len(queries) for queries in asking])
        assert torch.allclose(scores, shares(received[None]), atol=1e-5)


def test_gradient_checkpointing_caches_nothing_twice(architecture):
    model = tiny(architecture, "language")
    use_checkpointing(model)
    attach(model).train()
    cache = DynamicCache()
    with at_profile(model, CUT, prompt=[6, 6]):
        model(**batch_of([9, 9]), past_key_values=cache, use_cache=True).logits[:, 5:].sum().backward()
    assert cache.get_seq_length() == 0


def test_the_hidden_state_gets_shorter_and_comes_back_at_full_length(architecture):
    model = attach(tiny(architecture))
    with at_profile(model, CUT):
        states = layer_states(model, batch_of([20, 20]))
    assert [state.shape[1] for state in states] == [20, 18, 12, 8, 20]


@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
def test_a_classifier_of_a_text_that_ends_in_the_padding_token_reads_before_it(architecture, mask):
    case = Case(architecture, "classifier")
    model, batch = case.make(), case.batch(LENGTHS)
    batch["input_ids"][0, 14:17] = 0
    batch["attention_mask"] = batch["attention_mask"] if mask else None
    plain = model(**batch).logits
    assert near([attach(model)(**batch).logits], [plain])


def test_a_classifier_that_would_read_what_its_mask_hides_is_refused(architecture):
    model, batch = attach(tiny(architecture)), batch_of([12, 8])
    embeds = model.get_input_embeddings()(batch["input_ids"])
    with pytest.raises(ValueError, match=r"hides the last column, where .*ForSequenceClassification reads"):
        model(inputs_embeds=embeds, attention_mask=batch["attention_mask"])
    batch["input_ids"][1, 8:] = 7
    with pytest.raises(ValueError, match=r"hides the last token that is not pad_token_id=0, where .* with that token"):
        model(**batch)


def test_generation_from_a_column_of_padding_is_refused(architecture):
    model = attach(tiny(architecture, "language"))
    with pytest.raises(ValueError, match=r"hides the last column of some texts.*pad on the left"):
        model(**batch_of([12, 8]), logits_to_keep=1)


@pytest.mark.parametrize("prompt", [[5], [0, 5], [5, 9]])
def test_prompts_that_do_not_fit_the_batch_are_refused(prompt):
    model = attach(tiny("gpt2", "language"))
    with (
        pytest.raises(ValueError, match="expected a number for each of 2 sequences, from 1 to its length"),
        at_profile(model, CUT, prompt=prompt),
    ):
        model(**batch_of([8, 8]))


def test_a_prompt_is_for_decoders_only():
    with (
        pytest.raises(ValueError, match="only a decoder has a continuation"),
        at_profile(attach(tiny("bert")), CUT, prompt=[3]),
    ):
        pass
