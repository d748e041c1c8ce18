"""Encoders: the first position is pooled, and sequences really get shorter."""

from itertools import pairwise

import pytest
import torch
from conftest import batch_of
from helpers.layer_states import layer_states
from helpers.tiny_models import CUT, ENCODERS, FULL, LENGTHS, WITHOUT, Case, near, tiny
from torch import nn

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.attach import attach, attached, detach
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.current_setting import at_profile, protecting
from latadj.elimination.profiles import Profile


@pytest.fixture(params=ENCODERS)
def architecture(request):
    return request.param


def skip_without(architecture, head):
    if (architecture, head) in WITHOUT:
        pytest.skip(f"transformers has no {head} of a {architecture}")


@pytest.mark.parametrize("head", ["classifier", "choice"])
def test_a_head_that_is_called_pooled_reads_the_first_position_only(architecture, head):
    skip_without(architecture, head)
    model = tiny(architecture, head)
    assert attached(attach(model)).reads == POOLED
    states = []

    def note(layer, args, output):
        state = output[0] if isinstance(output, tuple) else output
        states[:] = [state.detach().requires_grad_()]  # of the last run of a layer that is several
        return (states[0], *output[1:]) if isinstance(output, tuple) else states[0]

    last = layers_of(model)[-1]
    with at_profile(model, Profile.full(4), score_observer=lambda *_: None):  # with an observer, no position is trimmed
        last.register_forward_hook(note)
        batch = batch_of([9, 9])
        model(
            **({name: value[None] for name, value in batch.items()} if head == "choice" else batch)
        ).logits.sum().backward()
    assert states[0].grad.abs().sum(dim=(0, 2)).nonzero().flatten().tolist() == [0]


def test_an_electra_that_sums_up_otherwise_than_by_the_first_position_is_not_trimmed():
    assert architecture_of(tiny("electra")).reads(tiny("electra", "choice", summary_type="mean")) == ALL


def test_heads_of_many_positions_read_all(architecture):
    for head in ("language", "tagger"):
        assert attached(attach(tiny(architecture, head))).reads == ALL


@torch.no_grad()
def everywhere(head, model, batch):
    """What a head that reads all positions gives at the real ones of each text."""
    output = model(**batch)
    states = output.last_hidden_state if head == "none" else torch.stack([output.start_logits, output.end_logits], -1)
    return [row[real] for row, real in zip(states, batch["attention_mask"].bool(), strict=True)]


@pytest.mark.parametrize("head", ["reader", "none"])
def test_answers_and_bare_states_are_the_plain_models_and_those_of_each_text_alone(architecture, head):
    skip_without(architecture, head)
    case = Case(architecture, head)
    model = case.make(num_labels=2)
    for side in ("right", "left"):
        batch = case.batch(LENGTHS, width=30, side=side)
        plain = everywhere(head, model, batch)
        attach(model)
        with at_profile(model, FULL, score_observer=lambda *_: None):  # so that our own layers run
            assert near(everywhere(head, model, batch), plain)
        with at_profile(model, CUT):
            cut = everywhere(head, model, batch)
            for row, expected in enumerate(cut):
                assert near(everywhere(head, model, case.row(batch, row)), [expected])
        assert not near(cut, plain)
        detach(model)
        assert near(everywhere(head, model, batch), plain, atol=0)


def test_the_hidden_state_gets_shorter_layer_by_layer(architecture):
    model = attach(tiny(architecture))
    with at_profile(model, CUT):
        states = layer_states(model, batch_of([20, 20]))
    assert [state.shape[1] for state in states] == [20, 18, 12, 8, 1]


def test_a_ragged_batch_computes_real_word_vectors_only(architecture):
    model = attach(tiny(architecture))
    with at_profile(model, Profile((0.5, 0.5, 0.25, 0.25))):
        states = layer_states(model, batch_of([20, 7, 3]))
    survivors = [10 + 4 + 2, 10 + 4 + 2, 5 + 2 + 1]
    assert [tuple(state.shape) for state in states] == [(3, 20, 32), *((count, 32) for count in survivors), (3, 1, 32)]


def test_an_eliminated_word_vector_keeps_the_state_in_which_it_was_eliminated(architecture):
    model = attach(tiny(architecture, "tagger"))
    with at_profile(model, CUT), torch.no_grad():
        states = model(**batch_of([16]), output_hidden_states=True).hidden_states
    changed = [(after != before).any(dim=-1).sum().item() for before, after in pairwise(states)]
    # A layer still updates those it eliminates through its attention, so each count is one layer behind.
    # Behind the last layer of some stands a norm over all.
    normed = architecture_of(model).post_norm
    assert changed == [16, 15, 10, 7 if normed else 16]


def test_chunks_of_the_feed_forward_block_change_nothing(architecture):
    plain, chunked = (attach(tiny(architecture, chunk_size_feed_forward=size)) for size in (0, 3))
    batch = batch_of(LENGTHS)
    for model in (plain, chunked):
        model.eval()
    with torch.no_grad(), at_profile(plain, CUT), at_profile(chunked, CUT):
        assert near([chunked(**batch).logits], [plain(**batch).logits])


def test_hidden_dropouts_are_all_but_those_of_probabilities_and_heads(architecture):
    model = tiny(architecture)
    found = {id(dropout) for dropout in architecture_of(model).hidden_dropouts(model)}
    blocks = [architecture_of(model).attention_block(layer) for layer in layers_of(model)]
    name = architecture_of(model).attention_dropout.removesuffix(".p")
    probabilities = {id(getattr(block, name)) for block in blocks}
    everyone = {id(part) for part in model.base_model.modules() if isinstance(part, nn.Dropout)}
    assert found == everyone - probabilities


@pytest.mark.parametrize(("pooling", "reads"), [("cls", POOLED), ("mean", ALL)])
def test_a_modernbert_is_read_where_its_config_pools(pooling, reads):
    model = tiny("modernbert", classifier_pooling=pooling)
    batch = batch_of(LENGTHS)
    del batch["position_ids"]
    plain = model(**batch).logits
    assert attached(attach(model)).reads == reads
    assert near([model(**batch).logits], [plain])


@pytest.mark.parametrize(("local", "sees"), [(4, False), (12, False), (128, True)])
def test_a_window_counts_positions_of_the_text_and_not_survivors(local, sees):
    model = attach(tiny("modernbert", "tagger", local_attention=local, layer_types=["sliding_attention"] * 4))
    ids = batch_of([40])["input_ids"]
    # The first layer lets go of all but the first token and the last five, which are neighbours from then on.
    protect = torch.zeros(1, 40, dtype=torch.bool)
    protect[0, 35:] = True
    with torch.no_grad(), protecting(model, protect), at_profile(model, Profile((6 / 40,) * 4)):
        before = model(input_ids=ids).logits[0, 35:]
        ids[0, 0] += 1
        after = model(input_ids=ids).logits[0, 35:]
    assert bool((after != before).any()) == sees


def test_a_modernbert_learns_after_it_has_answered():
    model, ids = attach(tiny("modernbert", local_attention=4)), batch_of([20])["input_ids"]
    with torch.inference_mode():
        model(input_ids=ids)
    model(input_ids=ids).logits.square().mean().backward()
    assert all(weight.grad is not None for weight in model.model.layers[0].attn.parameters())
