"""Top-k attention, over all architectures and heads, against plain transformers with an attention that selects."""

import copy
import threading

import pytest
import torch
from conftest import use_checkpointing
from helpers.masked_reference import masked, survivors_of
from helpers.tiny_models import CUT, DECODERS, FULL, LENGTHS, REACHES, Case, dial_for, near, tiny
from helpers.topk_reference import with_topk
from transformers import StaticCache

from latadj.elimination.attach import attach, attached, detach, set_topk_attention, topk_attention_of
from latadj.elimination.cost import SURVIVORS
from latadj.elimination.current_setting import at_profile, set_speedup
from latadj.elimination.topk_setting import TopKAttention
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning import PruningUnit, remove

MIXED, EVERYWHERE, UPPER = (3, None, 0.4, 2), (0.3, 0.5, 4, 1), (None, None, 0.25, 5)
TOPK = {"mixed": MIXED, "everywhere": EVERYWHERE, "upper": UPPER}


@torch.no_grad()
def outputs(case, model, batch):
    return case.outputs(model, batch)


@torch.no_grad()
def expected(case, model, batch, layers):
    with with_topk(model, layers):
        return case.outputs(model, batch)


@pytest.mark.parametrize("layers", TOPK.values(), ids=TOPK)
def test_each_query_attends_to_its_top_k_keys_only(case, layers):
    model, topk = case.make(), TopKAttention(layers)
    for side in case.sides:
        batch = case.batch(LENGTHS, width=30, side=side)
        plain, wanted = outputs(case, model, batch), expected(case, model, batch, layers)
        assert near(outputs(case, attach(model, topk=topk), batch), wanted)
        assert not near(wanted, plain)
        detach(model)


def test_texts_without_padding_select_alike(case):
    model, batch = case.make(), case.batch([12, 12])
    wanted = expected(case, model, batch, MIXED)
    assert near(outputs(case, attach(model, topk=TopKAttention(MIXED)), batch), wanted)


@pytest.mark.parametrize("k", [max(LENGTHS), 1.0])
def test_as_many_keys_as_there_are_is_ordinary_attention(case, k):
    model, batch = case.make(), case.batch(LENGTHS, width=30)
    plain = outputs(case, model, batch)
    assert near(outputs(case, attach(model, topk=TopKAttention((k,) * 4)), batch), plain)


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
def test_a_row_alone_equals_the_row_in_a_ragged_batch_wherever_its_padding_is(case, profile):
    model = attach(case.make(), topk=TopKAttention(EVERYWHERE))
    with at_profile(model, profile):
        tight = outputs(case, model, case.batch(LENGTHS))
        for row in range(len(LENGTHS)):
            assert near(outputs(case, model, case.row(case.batch(LENGTHS), row)), [tight[row]])
        for side in case.sides:
            assert near(outputs(case, model, case.batch(LENGTHS, width=40, side=side)), tight)


def test_survivors_attend_to_the_top_k_of_the_survivors(case):
    model = case.make()
    for side in case.sides:
        batch = case.batch(LENGTHS, width=26, side=side)
        attach(model, topk=TopKAttention(MIXED))
        reads = attached(model).reads
        ours, alive = survivors_of(model, batch["attention_mask"], CUT, lambda b=batch: outputs(case, model, b))
        detach(model)
        if reads == SURVIVORS:
            batch["attention_mask"] = alive[-1].long()
        with masked(model, alive):
            assert near(ours, expected(case, model, batch, MIXED))


def test_contributions_are_of_the_probabilities_after_the_selection(classifier):
    model, batch, heard = classifier.make(), classifier.batch(LENGTHS), {}
    with torch.no_grad(), with_topk(model, MIXED) as first:
        model(**batch)
    probs, values = first[0]
    real = batch["attention_mask"].bool()
    received = (probs * real[:, None, :, None]).sum(dim=2) * values.norm(dim=-1)
    sees = real.sum(dim=1, keepdim=True).expand(real.shape)
    if classifier.architecture in DECODERS:
        sees = (sees - torch.arange(real.shape[1])).clamp(max=REACHES.get(classifier.architecture, (0,))[0] or 99)
    wanted = received.mean(dim=1).where(real, 0) / sees.clamp(min=1)
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    attach(model, topk=TopKAttention(MIXED))
    observer = lambda layer, scores, mask, lengths: heard.setdefault(layer, scores)  # noqa: E731
    with torch.no_grad(), at_profile(model, FULL, score_observer=observer):
        model(**batch)
    assert torch.allclose(heard[0], wanted, atol=1e-5)


def test_gradients_are_those_of_the_reference(classifier):
    batch, gradients = classifier.batch(LENGTHS), []
    for ours in (True, False):
        model = classifier.make()
        if ours:
            attach(model, topk=TopKAttention(MIXED))
            model(**batch).logits.square().mean().backward()
        else:
            with with_topk(model, MIXED):
                model(**batch).logits.square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    names = gradients[0].keys() & gradients[1].keys()
    assert len(names) > 20
    assert near(*([found[name] for name in sorted(names)] for found in gradients))


def test_gradient_checkpointing_gives_the_same_gradients(classifier):
    gradients = []
    for checkpointing in (False, True):
        model = classifier.make()
        if checkpointing:
            use_checkpointing(model)
        attach(model, topk=TopKAttention(MIXED)).train()
        torch.manual_seed(3)
        with at_profile(model, CUT):
            loss = model(**classifier.batch(LENGTHS)).logits.square().mean()
        set_topk_attention(model, TopKAttention.full(4))  # by the time the layers run again
        loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert near(*gradients)


def test_detach_is_bit_exact(case):
    model, batch = case.make(), case.batch(LENGTHS)
    plain = outputs(case, model, batch)
    attach(model, topk=TopKAttention(MIXED))
    assert not near(outputs(case, model, batch), plain)
    assert near(outputs(case, detach(model), batch), plain, atol=0)


def test_without_a_topk_layer_nothing_changes_by_a_bit(case):
    model, batch = attach(case.make()), case.batch(LENGTHS)
    before = outputs(case, model, batch)
    assert near(outputs(case, attach(model, topk=TopKAttention.full(4)), batch), before, atol=0)


def test_topk_attention_stays_when_a_dial_is_attached(classifier):
    model, batch = attach(classifier.make(), topk=TopKAttention(MIXED)), classifier.batch(LENGTHS)
    before = outputs(classifier, model, batch)
    attach(model, dial_for(model))
    assert topk_attention_of(model) == TopKAttention(MIXED)
    assert near(outputs(classifier, model, batch), before, atol=0)
    attach(model, topk=TopKAttention.full(4))
    assert topk_attention_of(model) is None
    assert not near(outputs(classifier, model, batch), before)


def test_a_deep_copy_has_topk_attention_of_its_own(classifier):
    model, batch = attach(classifier.make(), topk=TopKAttention(MIXED)), classifier.batch(LENGTHS)
    before = outputs(classifier, model, batch)
    twin = copy.deepcopy(model)
    assert near(outputs(classifier, twin, batch), before, atol=0)
    set_topk_attention(twin, TopKAttention(UPPER))
    assert near(outputs(classifier, model, batch), before, atol=0)
    assert not near(outputs(classifier, twin, batch), before)


def test_threads_at_two_speedups_do_not_meet(classifier):
    model, batch = classifier.make(), classifier.batch(LENGTHS)
    attach(model, topk=TopKAttention(MIXED))
    wanted = {}
    for profile in (FULL, CUT):
        with at_profile(model, profile):
            wanted[profile] = outputs(classifier, model, batch)
    start, wrong = threading.Barrier(2), []

    def work(profile):
        with at_profile(model, profile):
            start.wait()
            for _ in range(10):
                if not near(outputs(classifier, model, batch), wanted[profile], atol=0):
                    wrong.append(profile)

    threads = [threading.Thread(target=work, args=(profile,)) for profile in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not near(*wanted.values())
    assert wrong == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_lowered_model_selects_too(classifier, precision):
    model, batch = attach(classifier.make(), topk=TopKAttention(MIXED)), classifier.batch(LENGTHS)
    with torch.inference_mode():
        wanted = torch.cat(classifier.outputs(model, batch))
        found = torch.cat(
            classifier.outputs(lower(copy.deepcopy(model), KernelSpec(precision, "plain")), batch)
        ).float()
        full = torch.cat(classifier.outputs(detach(model), batch))
    assert (found - wanted).abs().max() < (1e-4 if precision == "fp32" else (full - wanted).abs().max())


def test_gradients_in_bf16_autocast_point_where_exact_ones_do(classifier):
    gradients = []
    for bf16 in (True, False):
        # Few keys are close enough for rounding to choose others.
        model, batch = attach(classifier.make(), topk=TopKAttention((None, None, 0.5, None))), classifier.batch(LENGTHS)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model(**batch).logits.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9


def test_texts_of_one_and_two_tokens_select_alike(case):
    model, batch = case.make(), case.batch([1, 2])
    wanted = expected(case, model, batch, EVERYWHERE)
    assert near(outputs(case, attach(model, topk=TopKAttention(EVERYWHERE)), batch), wanted)


@pytest.fixture(params=[Case(architecture, "language") for architecture in (*DECODERS, "t5")], ids=str)
def generator(request):
    return request.param


def new_tokens(model, batch, **options):
    wanted = {"max_new_tokens": 8, "eos_token_id": None, "do_sample": False, **options}
    return model.generate(**{name: batch[name] for name in ("input_ids", "attention_mask")}, **wanted)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
@pytest.mark.parametrize("lengths", [[14, 14], [14, 9, 5]], ids=["unpadded", "padded"])
def test_generation_selects_in_the_prompt_and_in_every_step(generator, lengths, options):
    model, batch = generator.make(), generator.batch(lengths, side="left")
    full = new_tokens(model, batch, **options)
    with with_topk(model, MIXED):
        wanted = new_tokens(model, batch, **options)
    attach(model, topk=TopKAttention(MIXED))
    assert torch.equal(new_tokens(model, batch, **options), wanted)
    assert not torch.equal(wanted, full)


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
@pytest.mark.parametrize("architecture", DECODERS)
@torch.no_grad()
def test_steps_over_a_cache_equal_one_pass_over_all(architecture, profile):
    case = Case(architecture, "language")
    model, batch = attach(case.make(), topk=TopKAttention(EVERYWHERE)), case.batch([20, 13, 7], side="left")
    del batch["logits_to_keep"]

    def part(start, stop):
        return {name: tensor[:, 0 if name == "attention_mask" else start : stop] for name, tensor in batch.items()}

    with at_profile(model, profile):
        prefill = model(**part(0, 14), use_cache=True, logits_to_keep=1)
        cache = prefill.past_key_values
        chunk = model(**part(14, 20), past_key_values=copy.deepcopy(cache), use_cache=True).logits
        steps = [model(**part(at, at + 1), past_key_values=cache, use_cache=True).logits for at in range(14, 20)]
    with at_profile(model, profile, prompt=batch["attention_mask"][:, :14].sum(dim=1).tolist()):
        at_once = model(**batch, use_cache=False).logits[:, 13:]
    assert near([torch.cat([prefill.logits, *steps], dim=1)], [at_once])
    assert near([chunk], [at_once[:, 1:]])


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_lowered_model_generates_the_same(architecture):
    case = Case(architecture, "language")
    model, batch = attach(case.make(), topk=TopKAttention(MIXED)), case.batch([14, 9, 5])
    lowered = lower(copy.deepcopy(model), KernelSpec("fp32", "plain"))
    assert torch.equal(new_tokens(lowered, batch), new_tokens(model, batch))


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_topk_layer_without_its_attention_block_generates_as_one_pass_says(architecture):
    case = Case(architecture, "language")
    model, batch = case.make(), case.batch([14, 14])
    remove(model, [PruningUnit("attention", 0, 0), PruningUnit("head", 3, 1)])
    attach(model, topk=TopKAttention(MIXED))
    found = new_tokens(model, batch)
    with torch.no_grad():
        logits = model(input_ids=found[:, :-1]).logits[:, 13:]
    assert torch.equal(logits.argmax(dim=-1), found[:, 14:])


@pytest.mark.parametrize("architecture", DECODERS)
def test_assisted_generation_says_the_same(architecture):
    model = attach(tiny(architecture, "language"), topk=TopKAttention(MIXED))
    batch = {"input_ids": torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6, 7]])}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    assert torch.equal(new_tokens(model, batch, prompt_lookup_num_tokens=3), new_tokens(model, batch))


def test_a_cache_of_fixed_length_is_refused():
    model = attach(tiny("llama", "language"), topk=TopKAttention(MIXED))
    cache = StaticCache(config=model.config, max_cache_len=32)
    with pytest.raises(ValueError, match="cannot be read by top-k attention: take transformers' DynamicCache"):
        model(input_ids=torch.tensor([[5, 6, 7]]), past_key_values=cache)


def test_probabilities_are_not_handed_over():
    model = attach(tiny("bert"), topk=TopKAttention(MIXED))
    with pytest.raises(ValueError, match="output_attentions=True"):
        model(input_ids=torch.tensor([[5, 6, 7]]), output_attentions=True)


def test_topk_attention_of_another_number_of_layers_is_refused():
    model = attach(tiny("bert"))
    with pytest.raises(ValueError, match="top-k attention for a model of 3 layers, the model has 4"):
        attach(model, topk=TopKAttention.full(3))
    with pytest.raises(ValueError, match="top-k attention for a model of 3 layers, the model has 4"):
        set_topk_attention(model, TopKAttention.full(3))


def test_turning_the_dial_leaves_topk_attention_as_it_is(classifier):
    model = classifier.make()
    attach(model, dial_for(model), topk=TopKAttention(MIXED))
    set_speedup(model, 2.0)
    assert topk_attention_of(model) == TopKAttention(MIXED)


@pytest.mark.parametrize("k", [0, -1, 1.5, 0.0, True, "2", float("nan")], ids=repr)
def test_what_is_no_number_of_keys_is_refused(k):
    with pytest.raises(ValueError, match=r"top-k attention of layer 2, k=.*: expected an integer >= 1, or a share"):
        TopKAttention((None, k))


def test_its_json_form_keeps_numbers_and_shares_apart():
    topk = TopKAttention((None, 1, 1.0, 0.25))
    again = TopKAttention.from_json(topk.to_json())
    assert again == topk
    assert [type(k) for k in again.layers] == [type(None), int, float, float]
    assert topk.text() == "layer 2: 1 key, layer 3: 100% of the keys, layer 4: 25% of the keys"


@pytest.mark.parametrize("data", [5, "soft", {"layers": []}], ids=repr)
def test_json_that_is_no_list_is_refused(data):
    with pytest.raises(ValueError, match=r"topk_attention: expected a list"):
        TopKAttention.from_json(data)
