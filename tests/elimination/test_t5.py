"""T5: the encoder eliminates, and the decoder's cross-attention reads the survivors only."""

import pytest
import torch
from helpers.tiny_models import CUT, LENGTHS, Case, near
from transformers import AutoModelForQuestionAnswering, T5EncoderModel, T5Model

from latadj.elimination.attach import attach, attached, detach
from latadj.elimination.cost import ALL, SURVIVORS
from latadj.elimination.current_setting import at_profile

CASE = Case("t5", "language")


@pytest.fixture
def model():
    return attach(CASE.make())


@torch.no_grad()
def test_the_encoder_gets_shorter_layer_by_layer_and_says_who_is_real(model):
    batch = CASE.batch([20, 10])
    with at_profile(model, CUT):
        encoded = model.get_encoder()(batch["input_ids"], attention_mask=batch["attention_mask"])
    assert encoded.last_hidden_state.shape == (2, 4, 32)
    assert encoded.survivors_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


@torch.no_grad()
def test_encoding_first_and_decoding_later_gives_the_same(model):
    batch = CASE.batch(LENGTHS)
    with at_profile(model, CUT):
        at_once = model(**batch).logits
        encoded = model.get_encoder()(batch["input_ids"], attention_mask=batch["attention_mask"])
    del batch["input_ids"]
    assert torch.equal(model(**batch, encoder_outputs=encoded).logits, at_once)


@torch.no_grad()
def test_inputs_by_position_and_outputs_as_a_tuple_are_taken(model):
    batch = CASE.batch(LENGTHS)
    with at_profile(model, CUT):
        expected = model(**batch).logits
        ids, mask, decoder = (batch[name] for name in ("input_ids", "attention_mask", "decoder_input_ids"))
        assert torch.equal(model(ids, mask, decoder, return_dict=False)[0], expected)


def test_an_encoder_that_cannot_say_who_is_real_is_refused(model):
    batch = CASE.batch(LENGTHS)
    with pytest.raises(ValueError, match="return_dict=False: an encoder that eliminates"), at_profile(model, CUT):
        model.get_encoder()(batch["input_ids"], attention_mask=batch["attention_mask"], return_dict=False)


@pytest.mark.parametrize(
    ("make", "reads"), [(T5Model, SURVIVORS), (T5EncoderModel, ALL), (AutoModelForQuestionAnswering.from_config, None)]
)
def test_other_heads_keep_all_as_the_plain_model_does(make, reads):
    config = CASE.make(num_labels=2).config
    torch.manual_seed(0)
    model, batch = make(config).eval(), CASE.batch(LENGTHS)
    if make is T5EncoderModel:
        del batch["decoder_input_ids"]
    with torch.no_grad():
        plain = model(**batch)[0]
        assert near([attach(model)(**batch)[0]], [plain])
        assert attached(model).reads == (reads or SURVIVORS)
        with at_profile(model, CUT):
            cut = model(**batch)[0]
        assert torch.equal(detach(model)(**batch)[0], plain)
    assert cut.shape == plain.shape
    assert not near([cut], [plain])
