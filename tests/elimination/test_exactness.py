"""What elimination must never change, over all architectures and heads."""

import threading

import pytest
import torch
from conftest import use_checkpointing
from helpers.masked_reference import masked, survivors_of
from helpers.tiny_models import CASES, CUT, DECODERS, FULL, LENGTHS, Case, dial_for, near

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.attach import attach, attached, detach, is_attached
from latadj.elimination.cost import SURVIVORS
from latadj.elimination.current_setting import at_profile, at_speedup
from latadj.elimination.profiles import Profile
from latadj.elimination.scores import SCORES


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Every architecture with every head."""
    return request.param


@torch.no_grad()
def outputs(case, model, batch):
    return case.outputs(model, batch)


def test_keeping_all_equals_the_plain_model(case):
    model = case.make()
    for side in case.sides:
        batch = case.batch(LENGTHS, width=30, side=side)
        plain = outputs(case, model, batch)
        attach(model)
        assert near(outputs(case, model, batch), plain)
        detach(model)


def test_a_text_of_up_to_short_length_is_read_whole_whatever_the_speedup(case):
    model = attach(case.make())
    batch = case.batch(LENGTHS)
    shortest = LENGTHS.index(min(LENGTHS))
    with at_profile(model, FULL):
        plain = outputs(case, model, batch)
    with at_profile(model, Profile(CUT.keep, short_length=min(LENGTHS))):
        cut = outputs(case, model, batch)
    assert near([cut[shortest]], [plain[shortest]])
    assert not near(cut, plain)


@pytest.mark.parametrize("mask", [True, False], ids=["mask of ones", "no mask"])
def test_keeping_all_equals_the_plain_model_without_padding(case, mask):
    model, batch = case.make(), case.batch([12, 12])
    asked = batch if mask else {**batch, "attention_mask": None}
    plain = model(**asked).logits
    attach(model)
    assert near([model(**asked).logits], [plain])


def test_detach_is_bit_exact_and_leaves_no_trace(case):
    model, batch = case.make(), case.batch(LENGTHS)
    before, names = outputs(case, model, batch), list(model.state_dict())
    implementation = model.config._attn_implementation
    contents = {name: set(module.__dict__) for name, module in model.named_modules()}
    attach(model)
    with at_profile(model, CUT):
        assert not near(outputs(case, model, batch), before)
    detach(model)
    assert near(outputs(case, model, batch), before, atol=0)
    assert model.config._attn_implementation == implementation
    assert {name: set(module.__dict__) for name, module in model.named_modules()} == contents
    assert list(model.state_dict()) == names
    assert not is_attached(model)


def test_parameter_names_do_not_change(case):
    model = case.make()
    names = list(model.state_dict())
    assert list(attach(model).state_dict()) == names


@pytest.mark.parametrize("profile", [CUT, Profile((0.5, 0.5, 0.25, 0.25))], ids=["falling", "in steps"])
def test_eliminating_before_the_feed_forward_block_equals_masking_after_it(case, profile):
    model = case.make()
    for side in case.sides:
        batch = case.batch(LENGTHS, width=26, side=side)
        reads = attached(attach(model)).reads
        ours, alive = survivors_of(model, batch["attention_mask"], profile, lambda b=batch: outputs(case, model, b))
        detach(model)
        plain = outputs(case, model, batch)
        if reads == SURVIVORS:  # by the decoder, through its cross-attention
            batch["attention_mask"] = alive[-1].long()
        with masked(model, alive):
            assert near(ours, outputs(case, model, batch))
        assert not near(ours, plain)


@pytest.mark.parametrize("lengths", [LENGTHS, [3, 1, 6, 2]], ids=["long", "short"])
@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
def test_a_row_alone_equals_the_row_in_a_ragged_batch_wherever_its_padding_is(case, profile, lengths):
    model = attach(case.make())
    sides = ("right", "left") if case.head == "classifier" and case.architecture != "t5" else case.sides
    with at_profile(model, profile):
        tight = outputs(case, model, case.batch(lengths, side=sides[0]))
        for row in range(len(lengths)):
            alone = case.row(case.batch(lengths, side=sides[0]), row)
            assert near(outputs(case, model, alone), [tight[row]])
        for side in sides:
            assert near(outputs(case, model, case.batch(lengths, width=40, side=side)), tight)


@pytest.mark.parametrize("score", sorted(SCORES.keys() - {"random"}))
@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_every_score_ranks_a_row_alone_as_in_a_batch_wherever_its_padding_is(architecture, score):
    case = Case(architecture, "classifier")
    model = attach(case.make())
    with at_profile(model, CUT, score=score):
        tight = outputs(case, model, case.batch(LENGTHS))
        for row in range(len(LENGTHS)):
            assert near(outputs(case, model, case.row(case.batch(LENGTHS), row)), [tight[row]])
        for side in ("right", "left"):
            assert near(outputs(case, model, case.batch(LENGTHS, width=40, side=side)), tight)


def test_training_passes_gradients_through_survivors(classifier):
    model = attach(classifier.make()).train()
    with at_profile(model, CUT):
        model(**classifier.batch(LENGTHS)).logits.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("reentrant", [False, True], ids=["not reentrant", "reentrant"])
def test_gradient_checkpointing_gives_the_same_gradients(case, reentrant):
    batch = case.batch(LENGTHS)
    options = {}
    if case.architecture in DECODERS and case.head == "language":
        del batch["logits_to_keep"]
        options = {"prompt": [length - 3 for length in LENGTHS]}
    gradients = []
    for checkpointing in (False, True):
        model = case.make()
        if checkpointing:
            use_checkpointing(model, use_reentrant=reentrant)
        attach(model).train()
        torch.manual_seed(3)
        with at_profile(model, CUT, **options):
            logits = model(**batch).logits
            loss = (logits[:, -4:] if options else logits).square().mean()
        with at_profile(model, FULL):  # another setting by the time the layers run again
            loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert near(*gradients)


def test_gradient_checkpointing_really_runs_layers_again(classifier):
    model = classifier.make()
    use_checkpointing(model)
    attach(model).train()
    calls = []
    layer = layers_of(model)[1]
    inside = layer.get_submodule(architecture_of(model).paths(layer).output)
    inside.register_forward_hook(lambda *_: calls.append(1))
    with at_profile(model, CUT):
        model(**classifier.batch(LENGTHS)).logits.sum().backward()
    assert len(calls) == 2


def test_two_threads_at_two_speedups_do_not_meet(classifier):
    model, batch = classifier.make(), classifier.batch(LENGTHS)
    attach(model, dial_for(model))
    expected = {}
    for speedup in (1.0, 3.0):
        with at_speedup(model, speedup):
            expected[speedup] = outputs(classifier, model, batch)
    start, wrong = threading.Barrier(2), []

    def work(speedup):
        with at_speedup(model, speedup):
            start.wait()
            for _ in range(15):
                if not near(outputs(classifier, model, batch), expected[speedup], atol=0):
                    wrong.append(speedup)

    threads = [threading.Thread(target=work, args=(speedup,)) for speedup in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not near(*expected.values())
    assert wrong == []


def test_a_saved_model_loads_in_plain_transformers_as_the_full_model(case, tmp_path):
    model, batch = case.make(), case.batch(LENGTHS)
    plain, implementation = outputs(case, model, batch), model.config._attn_implementation
    attach(model, dial_for(model), speedup=3.0).save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert near(outputs(case, loaded, batch), plain, atol=0)
    assert loaded.config._attn_implementation == implementation


def test_bf16_autocast_runs_and_stays_near_fp32(classifier):
    model, batch = attach(classifier.make()), classifier.batch(LENGTHS)
    with at_profile(model, FULL):
        exact = outputs(classifier, model, batch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = outputs(classifier, model, batch)
    assert near([row.float() for row in rounded], exact, atol=0.3)


def test_sequences_of_one_and_two_tokens_survive_any_profile(case):
    model, batch = attach(case.make()), case.batch([1, 2])
    full = outputs(case, model, batch)
    with at_profile(model, Profile((0.01,) * 4)):
        alone, pair = outputs(case, model, batch)
    assert near([alone], full[:1])  # whoever is alone stays
    assert pair.isfinite().all()
