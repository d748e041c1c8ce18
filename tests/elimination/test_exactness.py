"""What elimination must never change, over all families."""

import copy
import threading
from itertools import pairwise

import pytest
import torch
from conftest import batch_of, use_checkpointing
from torch import nn
from transformers import AutoModelForSequenceClassification, BertForTokenClassification, BertModel

from latadj.elimination.attach import at_profile, at_speedup, attach, detach, is_attached, set_speedup
from latadj.elimination.cost import LayerShape
from latadj.elimination.profile import Dial, Profile

CUT = Profile((0.9, 0.6, 0.4, 0.2))
LENGTHS = [17, 9, 23, 4]


def dial_for(model, **options):
    layers = model.config.num_hidden_layers
    shape = LayerShape(32 * 32, 2 * 32 * 32, 32 * 32, 2 * 32 * 64, 32)
    return Dial(layer_acc=(0.8,) * layers, lengths=tuple(LENGTHS), shapes=(shape,) * layers, **options)


@torch.no_grad()
def logits(model, batch, **options):
    return model(**batch, **options).logits


def test_keeping_all_equals_the_plain_model(model):
    batch = batch_of(LENGTHS)
    plain = logits(model, batch)
    attach(model)
    assert torch.allclose(logits(model, batch), plain, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"attention_mask": None}])
def test_keeping_all_equals_the_plain_model_without_padding(model, options):
    batch = {**batch_of([12, 12]), **options}
    plain = logits(model, batch)
    attach(model)
    assert torch.allclose(logits(model, batch), plain, atol=1e-5)


def test_detach_is_bit_exact_and_leaves_no_trace(model):
    batch = batch_of(LENGTHS)
    before, names = logits(model, batch), list(model.state_dict())
    implementation = model.config._attn_implementation
    contents = {name: set(module.__dict__) for name, module in model.named_modules()}
    attach(model)
    with at_profile(model, CUT):
        assert not torch.equal(logits(model, batch), before)
    detach(model)
    assert torch.equal(logits(model, batch), before)
    assert model.config._attn_implementation == implementation
    assert {name: set(module.__dict__) for name, module in model.named_modules()} == contents
    assert list(model.state_dict()) == names
    assert not is_attached(model)


def test_parameter_names_do_not_change(model):
    names = list(model.state_dict())
    assert list(attach(model).state_dict()) == names


def test_the_hidden_state_gets_shorter_layer_by_layer(model):
    batch = batch_of([20, 20])
    attach(model)
    with at_profile(model, CUT), torch.no_grad():
        states = model(**batch, output_hidden_states=True).hidden_states
    assert [state.shape[1] for state in states] == [20, 18, 12, 8, 1]


def test_a_ragged_batch_computes_real_word_vectors_only(model):
    attach(model)
    with at_profile(model, Profile((0.5, 0.5, 0.25, 0.25))), torch.no_grad():
        states = model(**batch_of([20, 7, 3]), output_hidden_states=True).hidden_states
    survivors = [10 + 4 + 2, 10 + 4 + 2, 5 + 2 + 1]
    assert [tuple(state.shape) for state in states] == [(3, 20, 32), *((count, 32) for count in survivors), (3, 1, 32)]


def test_a_batch_of_one_equals_the_same_row_of_a_batch(model):
    batch = batch_of(LENGTHS)
    attach(model)
    with at_profile(model, CUT):
        together = logits(model, batch)
        for row, length in enumerate(LENGTHS):
            alone = {name: tensor[row : row + 1, :length] for name, tensor in batch.items()}
            assert torch.allclose(logits(model, alone)[0], together[row], atol=1e-5)


@pytest.mark.parametrize("profile", [Profile.full(4), CUT], ids=["full", "cut"])
def test_padding_does_not_matter_neither_its_side_nor_its_amount(model, profile):
    attach(model)
    with at_profile(model, profile):
        tight = logits(model, batch_of(LENGTHS))
        assert torch.allclose(logits(model, batch_of(LENGTHS, width=40)), tight, atol=1e-5)
        assert torch.allclose(logits(model, batch_of(LENGTHS, width=40, side="left")), tight, atol=1e-5)


def test_eliminating_before_the_feed_forward_block_equals_eliminating_after_the_layer(model):
    """Removal checked against masking: a plain forward in which eliminated word-vectors are hidden as keys."""
    batch = batch_of([16])
    attach(model)
    chosen = []

    def watch(layer, scores, mask, lengths):
        chosen.append(scores[0])

    with at_profile(model, CUT, observer=watch):
        ours = logits(model, batch)
    detach(model)
    base = model.base_model
    alive = torch.arange(16)
    with torch.no_grad():
        hidden = base.embeddings(input_ids=batch["input_ids"], position_ids=batch["position_ids"])
        for layer, ratio, scores in zip(base.encoder.layer, CUT.keep, chosen, strict=True):
            hidden = layer(hidden[:, alive] if len(alive) < hidden.shape[1] else hidden)
            ranked = scores.clone()
            ranked[0] = torch.inf  # the pooled position is protected
            count = max(1, int(-(-ratio * 16 // 1)))
            kept = ranked.topk(min(count, len(alive))).indices.sort().values
            hidden, alive = hidden[:, kept], torch.arange(len(kept))
        plain = model.classifier(base.pooler(hidden))
    assert torch.allclose(ours, plain, atol=1e-5)


def test_training_passes_gradients_through_survivors(model):
    attach(model).train()
    with at_profile(model, CUT):
        model(**batch_of(LENGTHS)).logits.sum().backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters())


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(make_model, reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = make_model(hidden_dropout_prob=0.1)
        if checkpointing:
            use_checkpointing(model, use_reentrant=reentrant)
        attach(model).train()
        torch.manual_seed(3)
        embeds = model.get_input_embeddings()(batch_of(LENGTHS)["input_ids"])
        batch = {name: tensor for name, tensor in batch_of(LENGTHS).items() if name != "input_ids"}
        with at_profile(model, CUT):
            loss = model(inputs_embeds=embeds, **batch).logits.square().sum()
        with at_profile(model, Profile.full(4)):  # another setting by the time the layers run again
            loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-5) for name in gradients[0])


def test_gradient_checkpointing_really_runs_layers_again(model):
    use_checkpointing(model)
    attach(model).train()
    calls = []
    model.base_model.encoder.layer[1].attention.self.query.register_forward_hook(lambda *_: calls.append(1))
    with at_profile(model, CUT):
        model(**batch_of(LENGTHS)).logits.sum().backward()
    assert len(calls) == 2


def test_two_threads_at_two_speedups_do_not_meet(model):
    batch = batch_of(LENGTHS)
    attach(model, dial_for(model))
    expected = {}
    for speedup in (1.0, 3.0):
        with at_speedup(model, speedup):
            expected[speedup] = logits(model, batch)
    start, wrong = threading.Barrier(2), []

    def work(speedup):
        with at_speedup(model, speedup):
            start.wait()
            for _ in range(30):
                if not torch.equal(logits(model, batch), expected[speedup]):
                    wrong.append(speedup)

    threads = [threading.Thread(target=work, args=(speedup,)) for speedup in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_at_speedup_is_undone_even_by_an_error(model):
    batch = batch_of(LENGTHS)
    attach(model, dial_for(model))
    full = logits(model, batch)
    with pytest.raises(RuntimeError), at_speedup(model, 4.0):
        raise RuntimeError
    assert torch.equal(logits(model, batch), full)


def test_set_speedup_turns_the_default_and_at_speedup_goes_before_it(model):
    batch = batch_of(LENGTHS)
    attach(model, dial_for(model))
    full = logits(model, batch)
    set_speedup(model, 3.0)
    assert not torch.equal(logits(model, batch), full)
    with at_speedup(model, 1.0):
        assert torch.equal(logits(model, batch), full)


def test_a_deep_copy_has_a_dial_of_its_own(model):
    batch = batch_of(LENGTHS)
    attach(model, dial_for(model))
    full = logits(model, batch)
    twin = copy.deepcopy(model)
    set_speedup(twin, 4.0)
    assert torch.equal(logits(model, batch), full)
    cut = logits(twin, batch)
    assert not torch.equal(cut, full)
    with at_speedup(model, 4.0):
        assert torch.equal(logits(model, batch), cut)
    assert torch.equal(logits(detach(twin), batch), logits(detach(model), batch))


def test_a_saved_model_loads_in_plain_transformers_as_the_full_model(model, tmp_path):
    batch = batch_of(LENGTHS)
    plain = logits(model, batch)
    attach(model, dial_for(model), speedup=4.0).save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(loaded, batch), plain)
    assert loaded.config._attn_implementation == "sdpa"


def test_bf16_autocast_runs_and_stays_near_fp32(model):
    batch = batch_of(LENGTHS)
    attach(model)
    with at_profile(model, Profile.full(4)):
        exact = logits(model, batch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = logits(model, batch)
    assert torch.allclose(rounded.float(), exact, atol=0.3)


def test_sequences_of_one_and_two_tokens_survive_any_profile(model):
    attach(model)
    with at_profile(model, Profile((0.01,) * 4)):
        assert logits(model, batch_of([1, 2])).isfinite().all()


def test_a_mask_that_is_not_two_dimensional_is_refused(model):
    attach(model)
    batch = batch_of([5])
    with pytest.raises(ValueError, match="attention_mask of 4 dimensions"):
        logits(model, {**batch, "attention_mask": torch.ones(1, 1, 5, 5)})


def test_an_unknown_family_is_refused_with_what_is_possible():
    with pytest.raises(ValueError, match="not supported: expected one of bert"):
        attach(nn.Linear(2, 2))


def test_a_dial_for_another_number_of_layers_is_refused(make_model):
    with pytest.raises(ValueError, match="dial is for a model of 4 layers, the model has 3"):
        attach(make_model(layers=3), dial_for(make_model(layers=4)))


def test_a_dial_for_another_kind_of_head_is_refused(model):
    tagger = BertForTokenClassification(model.config)
    with pytest.raises(ValueError, match="reads pooled positions, BertForTokenClassification reads all: calibrate"):
        attach(tagger, dial_for(model))


def test_set_speedup_needs_an_attached_dial(model):
    with pytest.raises(ValueError, match="not attached"):
        set_speedup(model, 2.0)
    with pytest.raises(ValueError, match="no dial"):
        set_speedup(attach(model), 2.0)


class TestHeadsThatReadEveryPosition:
    @pytest.fixture
    def tagger(self, model):
        torch.manual_seed(0)
        return BertForTokenClassification(model.config).eval()

    def test_keeping_all_is_bit_exact(self, tagger):
        batch = batch_of(LENGTHS)
        plain = logits(tagger, batch)
        assert torch.equal(logits(attach(tagger), batch), plain)

    def test_the_eliminated_rejoin_at_their_positions(self, tagger):
        batch = batch_of(LENGTHS)
        plain = logits(tagger, batch)
        attach(tagger)
        with at_profile(tagger, CUT):
            cut = logits(tagger, batch)
        assert cut.shape == plain.shape
        assert cut.isfinite().all()

    def test_an_eliminated_word_vector_keeps_the_state_in_which_it_was_eliminated(self, model):
        torch.manual_seed(0)
        encoder = BertModel(model.config).eval()
        batch = batch_of([16])
        attach(encoder)
        with at_profile(encoder, CUT), torch.no_grad():
            states = encoder(**batch, output_hidden_states=True).hidden_states
        changed = [(after != before).any(dim=-1).sum().item() for before, after in pairwise(states)]
        # A layer still updates those it eliminates through its attention, so each count is one layer behind.
        assert changed == [16, 15, 10, 7]

    def test_padding_and_batching_do_not_matter(self, tagger):
        batch = batch_of(LENGTHS)
        attach(tagger)
        with at_profile(tagger, CUT):
            together = logits(tagger, batch)
            for row, length in enumerate(LENGTHS):
                alone = {name: tensor[row : row + 1, :length] for name, tensor in batch.items()}
                assert torch.allclose(logits(tagger, alone)[0], together[row, :length], atol=1e-5)

    def test_gradient_checkpointing_gives_the_same_gradients(self, tagger):
        gradients = []
        for checkpointing in (False, True):
            twin = copy.deepcopy(tagger)
            if checkpointing:
                use_checkpointing(twin)
            attach(twin).train()
            torch.manual_seed(3)
            with at_profile(twin, CUT):
                twin(**batch_of(LENGTHS)).logits.square().sum().backward()
            gradients.append([parameter.grad for parameter in twin.parameters()])
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(*gradients, strict=True))
