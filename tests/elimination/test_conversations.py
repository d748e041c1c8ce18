"""A cache goes on with the model and the texts that filled it; whoever asks otherwise is told so."""

import pytest
import torch
from helpers.tiny_models import CUT, DECODERS, FULL, batch_of, near, tiny

from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile
from latadj.pruning.surgery import without
from latadj.pruning.units import PruningUnit

FIRST, SECOND = [14, 9, 5], 6
MISFIT = "a cache goes on with the model and the texts that it was filled by: start the conversation anew"


@pytest.fixture(params=DECODERS)
def architecture(request):
    return request.param


@torch.no_grad()
def filled(model, texts=1, profile=CUT):
    with at_profile(model, profile):
        return model(batch_of([13] * texts)["input_ids"], use_cache=True, logits_to_keep=1).past_key_values


@pytest.mark.parametrize("steps", [1, 5])
@torch.no_grad()
def test_a_model_detached_in_a_conversation_says_so(architecture, steps):
    model = attach(tiny(architecture, "language"))
    cache = filled(model)
    with pytest.raises(ValueError, match=rf"hold survivors of an eliminated prompt, .*{MISFIT}, or attach the model"):
        detach(model)(batch_of([steps])["input_ids"], past_key_values=cache)


@pytest.mark.parametrize(
    ("other", "texts", "message"),
    [
        ({"layers": 5}, 1, "of 4 layers and 1 texts, for a model of 5 layers and 1 texts"),
        ({}, 2, "of 4 layers and 1 texts, for a model of 4 layers and 2 texts"),
    ],
    ids=["model", "texts"],
)
@torch.no_grad()
def test_a_cache_of_another_model_or_batch_is_refused(architecture, other, texts, message):
    cache = filled(attach(tiny(architecture, "language")))
    with pytest.raises(ValueError, match=f"past_key_values {message}: {MISFIT}"):
        attach(tiny(architecture, "language", **other))(torch.full((texts, 1), 5), past_key_values=cache)


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("kind", ["head", "attention"])
@torch.no_grad()
def test_a_model_pruned_in_a_conversation_says_so_and_leaves_the_cache_as_it_was(architecture, profile, layer, kind):
    model = attach(tiny(architecture, "language"))
    cache = filled(model, profile=profile)
    held = [one.keys.shape for one in cache.layers]
    message = rf"past_key_values of \d heads of size 8 in layer {layer + 1}, where this model has .*: {MISFIT}"
    with (
        at_profile(model, profile),
        without(model, [PruningUnit(kind, layer, 1)]),
        pytest.raises(ValueError, match=message),
    ):
        model(torch.full((1, 1), 5), past_key_values=cache)
    assert [one.keys.shape for one in cache.layers] == held
    with at_profile(model, profile):
        model(torch.full((1, 1), 5), past_key_values=cache)


@pytest.mark.parametrize("columns", [1, 13, 15])
@torch.no_grad()
def test_a_mask_of_another_width_than_cache_and_new_tokens_is_refused(architecture, columns):
    model = attach(tiny(architecture, "language"))
    cache, mask = filled(model), torch.ones(1, columns, dtype=torch.long)
    with pytest.raises(ValueError, match=rf"attention_mask of shape \(1, {columns}\): elimination needs \(1, 14\)"):
        model(torch.full((1, 1), 5), past_key_values=cache, attention_mask=mask)


@torch.no_grad()
def second_turn(model, batch, turn, profile, named):
    """Logits of a second turn, with the positions of those turns named that are in ``named``."""
    lengths = batch["attention_mask"].sum(dim=1, keepdim=True)
    mask = torch.cat([batch["attention_mask"], torch.ones_like(turn)], dim=1)
    later = {"position_ids": lengths + torch.arange(SECOND)} if 2 in named else {}
    first = {name: tensor for name, tensor in batch.items() if name != "position_ids" or 1 in named}
    with at_profile(model, profile):
        cache = model(**first, use_cache=True, logits_to_keep=1).past_key_values
        return model(turn, attention_mask=mask, past_key_values=cache, **later).logits


@pytest.mark.parametrize("named", [(), (1,), (1, 2)], ids=["no positions", "of the first turn", "positions"])
@torch.no_grad()
def test_a_second_turn_at_speedup_1_is_the_plain_models_whatever_the_positions(architecture, named):
    model, batch = tiny(architecture, "language"), batch_of(FIRST, side="left")
    turn = batch_of([SECOND] * 3)["input_ids"]
    found = second_turn(attach(model), batch, turn, FULL, named)
    detach(model)
    later = {"position_ids": batch["attention_mask"].sum(dim=1, keepdim=True) + torch.arange(SECOND)}
    first = {name: tensor for name, tensor in batch.items() if name != "position_ids" or 1 in named}
    cache = model(**first, use_cache=True).past_key_values
    mask = torch.cat([batch["attention_mask"], torch.ones_like(turn)], dim=1)
    plain = model(turn, attention_mask=mask, past_key_values=cache, **(later if 2 in named else {})).logits
    assert near([found], [plain])


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
def test_a_padded_rows_second_turn_is_the_rows_alone(architecture, profile):
    model, batch = attach(tiny(architecture, "language")), batch_of(FIRST, side="left")
    turn = batch_of([SECOND] * 3)["input_ids"]
    together = second_turn(model, batch, turn, profile, (1, 2))
    for row, length in enumerate(FIRST):
        alone = {name: tensor[row : row + 1, -length:] for name, tensor in batch.items()}
        assert near([second_turn(model, alone, turn[row : row + 1], profile, (1, 2))[0]], [together[row]])
