"""Batches that transformers takes and elimination cannot read, and what is defined of those that it can."""

import pytest
import torch
from helpers.tiny_models import CUT, DECODERS, ENCODERS, FULL, LENGTHS, Case, dial_for, near, tiny
from transformers import AutoModel, BertPreTrainedModel

from latadj.elimination.architectures import architecture_of
from latadj.elimination.attach import attach, detach
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.current_setting import at_profile, set_speedup
from latadj.elimination.notices import warn_once


@pytest.fixture(autouse=True)
def nothing_told():
    warn_once.cache_clear()


@torch.no_grad()
def test_a_mask_of_another_width_than_the_texts_is_refused(case):
    model, batch = attach(case.make()), case.batch([12, 12])
    batch["attention_mask"] = batch["attention_mask"][:, :9]
    message = r"attention_mask of shape \(2, 9\): elimination needs \(2, 12\), a column for each token"
    with pytest.raises(ValueError, match=message), at_profile(model, CUT):
        model(**batch)


@pytest.mark.parametrize("architecture", ENCODERS)
@pytest.mark.parametrize("rows", [[1], [0, 1, 2, 3]], ids=["a row", "all rows"])
@torch.no_grad()
def test_texts_without_a_token_are_named(architecture, rows):
    for head, profile in (("classifier", FULL), ("classifier", CUT), ("tagger", CUT)):
        model, batch = attach(tiny(architecture, head)), Case(architecture, head).batch(LENGTHS)
        batch["attention_mask"][rows] = 0
        message = f"hides every token of row {', '.join(map(str, rows))} .*leave empty texts out"
        with pytest.raises(ValueError, match=message), at_profile(model, profile):
            model(**batch)


@pytest.mark.parametrize("architecture", ENCODERS)
@torch.no_grad()
def test_a_left_padded_text_is_read_at_its_first_token_and_the_user_is_told(architecture, caplog):
    case = Case(architecture, "classifier")
    model, batch = attach(case.make()), case.batch(LENGTHS, side="left")
    named = model(**batch).logits
    assert not caplog.text
    alone = [model(**case.row(batch, row)).logits[0] for row in range(len(LENGTHS))]
    assert near(list(named), alone)
    del batch["position_ids"]
    model(**batch)
    model(**batch)
    assert caplog.text.count("attention_mask hides the first column of some texts") == 1
    assert "padding_side='right'" in caplog.text


@torch.no_grad()
def test_double_precision_chooses_the_same_tokens(case):
    model, batch = attach(case.make()), case.batch(LENGTHS)
    with at_profile(model, CUT):
        single = case.outputs(model, batch)
        double = case.outputs(model.double(), batch)
    assert near([row.float() for row in double], single, atol=1e-3)


@pytest.mark.parametrize("architecture", ENCODERS)
@torch.no_grad()
def test_a_tagger_that_shares_an_attached_base_has_every_label(architecture):
    model, tagger = tiny(architecture), tiny(architecture, "tagger")
    name = model.base_model_prefix
    setattr(tagger, name, getattr(model, name))
    batch = Case(architecture, "tagger").batch(LENGTHS)
    plain = Case(architecture, "tagger").outputs(tagger, batch)
    attach(model)
    assert near(Case(architecture, "tagger").outputs(tagger, batch), plain)


class OwnHead(BertPreTrainedModel):
    """A head of a user's own, which hands nothing on to its base."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = AutoModel.from_config(config)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        return self.classifier(self.bert(input_ids, attention_mask=attention_mask)[0][:, 0])


@torch.no_grad()
def test_a_head_of_ones_own_reads_where_it_was_attached():
    model = OwnHead(tiny("bert").config).eval()
    batch = {name: tensor for name, tensor in Case("bert", "tagger").batch(LENGTHS).items() if name != "position_ids"}
    plain = model(**batch)
    assert near([attach(model, reads=POOLED)(**batch)], [plain])
    assert model.bert(**batch)[0].shape[1] == 1


@pytest.mark.parametrize(
    ("head", "reads", "warns"),
    [("none", None, True), ("none", ALL, False), ("tagger", None, False), ("classifier", None, False)],
)
def test_a_dial_of_a_model_without_a_known_head_is_warned_of(caplog, head, reads, warns):
    model = tiny("bert", "tagger").bert if head == "none" else tiny("bert", head)
    attach(attach(model, dial_for(model), reads=reads), reads=reads)
    set_speedup(attach(model, dial_for(model), reads=reads), 2.0)
    assert caplog.text.count("BertModel has no head that latadj knows") == warns


@pytest.mark.parametrize(
    "case", [Case("bert", "classifier"), Case("gpt2", "classifier"), Case("t5", "language")], ids=str
)
@torch.no_grad()
def test_hidden_states_are_the_plain_models_at_speedup_1_and_refused_where_layers_hold_survivors(case):
    model, batch = case.make(), case.batch(LENGTHS)
    plain = model(**batch, output_hidden_states=True)
    name = "encoder_hidden_states" if case.architecture == "t5" else "hidden_states"
    found = attach(model)(**batch, output_hidden_states=True)
    assert all(torch.equal(*pair) for pair in zip(found[name], plain[name], strict=True))
    with pytest.raises(ValueError, match=r"output_hidden_states=True: .* survivor_observer="), at_profile(model, CUT):
        model(**batch, output_hidden_states=True)
    architecture_of(model).base(model).config.output_hidden_states = True
    with pytest.raises(ValueError, match="output_hidden_states=True"), at_profile(model, CUT):
        model(**batch)
    with at_profile(model, CUT):
        model(**batch, output_hidden_states=False)


@torch.no_grad()
def test_hidden_states_have_every_position_where_all_are_read():
    for architecture in ("bert", "llama", "t5"):
        case = Case(architecture, "tagger")
        model, batch = attach(case.make()), case.batch(LENGTHS)
        with at_profile(model, CUT):
            states = model(**batch, output_hidden_states=True).hidden_states
        assert {tuple(state.shape) for state in states} == {(4, 23, 32)}


def test_a_llama_whose_config_names_a_window_that_its_layers_do_not_have_is_refused():
    with pytest.raises(
        ValueError, match=r"LlamaForCausalLM with sliding_window=8: .* load it with sliding_window=None"
    ):
        attach(tiny("llama", "language", sliding_window=8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_bidirectional_attention": True}, "is an encoder, as EmbeddingGemma is"),
        ({"attn_logit_softcapping": 50.0}, "with attn_logit_softcapping: elimination supports Gemma 3 without it only"),
        ({"final_logit_softcapping": 30.0}, "with final_logit_softcapping: elimination supports Gemma 3 without it"),
    ],
    ids=str,
)
def test_a_gemma_whose_attention_is_another_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        attach(tiny("gemma3_text", "language", **options))


@pytest.mark.parametrize("architecture", [name for name in DECODERS if name != "gpt2"])
def test_a_window_that_no_layer_has_is_none(architecture):
    detach(attach(tiny(architecture, "language", sliding_window=None, layer_types=["full_attention"] * 4)))
