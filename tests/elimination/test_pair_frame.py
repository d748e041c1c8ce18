"""Of a query and a document in one row only the document's tokens are eliminated, whoever runs the model."""

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.masked_reference import masked, survivors_of
from helpers.pair_tokenizers import pair_tokenizer
from helpers.tiny_models import DECODERS, ENCODERS, near, tiny
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

import latadj
from latadj.elimination.attach import attach, attached, detach
from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.current_setting import at_profile
from latadj.elimination.pair_frame import PairFrame
from latadj.elimination.profiles import Profile
from latadj.tasks.encoding.batches import PROTECTED, pad, protected_counts, tokenize
from latadj.tasks.outputs.predict import predict

HARSH = Profile((0.4, 0.3, 0.2, 0.1))
QUERIES = ["who ?", "what a ?", "who"]
DOCUMENTS = ["a b c d e f g h i j a b c d", "d e f", "a b c d e f g h"]
PROTECTED_OF = {
    "bert": ["[CLS]", "who", "?", "[SEP]", "[SEP]"],
    "roberta": ["[CLS]", "who", "?", "[SEP]", "[SEP]", "[SEP]"],
    "t5": ["who", "?", "[SEP]", "[SEP]"],
}


def rows_for(tokenizer, frame=None):
    rows = tokenize([QUERIES, DOCUMENTS], tokenizer, 64)
    return rows if frame is None else [{**row, PROTECTED: frame.spans(row["input_ids"])} for row in rows]


def ranker(architecture, side="right"):
    """A tiny reranker with elimination attached that knows how its tokenizer frames a pair."""
    tokenizer = pair_tokenizer("t5" if architecture in DECODERS else "bert", side)
    model = attach(tiny(architecture, "classifier", num_labels=1))
    model.config.pad_token_id = tokenizer.pad_token_id
    attached(model).pair = PairFrame.of(tokenizer)
    return model, tokenizer


@pytest.mark.parametrize("kind", PROTECTED_OF)
def test_all_but_the_documents_tokens_are_protected(kind):
    tokenizer = pair_tokenizer(kind)
    frame = PairFrame.of(tokenizer)
    ids = tokenize([QUERIES[:1], DOCUMENTS[:1]], tokenizer, 64)[0]["input_ids"]
    first, stop, second, last = frame.spans(ids)
    assert tokenizer.convert_ids_to_tokens(ids[first:stop] + ids[second:last]) == PROTECTED_OF[kind]
    assert tokenizer.decode(ids[stop:second]) == DOCUMENTS[0]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", PROTECTED_OF)
def test_a_padded_batch_is_marked_as_its_rows_are(kind, side):
    tokenizer = pair_tokenizer(kind, side)
    frame = PairFrame.of(tokenizer)
    batch = pad(rows_for(tokenizer, frame), tokenizer)
    assert batch[PROTECTED].any()
    assert torch.equal(frame.protected(batch["input_ids"], batch["attention_mask"].bool()), batch[PROTECTED])
    assert protected_counts(rows_for(tokenizer, frame)).tolist() == batch[PROTECTED].sum(dim=1).tolist()


@pytest.mark.parametrize("kind", PROTECTED_OF)
def test_of_a_single_text_nothing_is_protected_and_of_an_empty_document_all(kind):
    tokenizer = pair_tokenizer(kind)
    frame = PairFrame.of(tokenizer)
    for texts, expected in (((["who ?"],), False), ((["who ?"], [""]), True)):
        ids = tokenizer(*texts, return_tensors="pt")["input_ids"]
        assert (frame.protected(ids, None) == expected).all()
        first, stop, second, last = frame.spans(ids[0].tolist())
        assert (stop - first) + (last - second) == (ids.shape[1] if expected else 0)


def test_a_tokenizer_that_puts_nothing_between_two_texts_is_refused():
    with pytest.raises(ValueError, match="puts no token between query and document"):
        PairFrame.of(pair_tokenizer("bare"))


@pytest.mark.parametrize("architecture", [*ENCODERS, "gpt2", "qwen2"])
def test_the_protected_survive_every_layer_and_all_counts_hold_them(architecture):
    for side in ("right", "left") if architecture in DECODERS else ("right",):
        model, tokenizer = ranker(architecture, side)
        rows = rows_for(tokenizer, attached(model).pair)
        batch = pad(rows, tokenizer)
        marks = batch.pop(PROTECTED)
        plain, alive = survivors_of(model, batch["attention_mask"], HARSH, lambda b=batch, m=model: m(**b).logits)
        lengths = np.array([len(row["input_ids"]) for row in rows])
        expected = schedule(HARSH, lengths, POOLED, protected_counts(rows))
        for survivors, counts in zip(alive[:-1], expected[:-1], strict=True):
            assert survivors[marks].all()
            assert survivors.sum(dim=1).tolist() == counts.tolist()
        detach(model)
        with masked(model, alive):
            assert near(list(plain), list(model(**batch).logits))


@pytest.mark.parametrize("architecture", [*ENCODERS, "gpt2", "qwen2"])
def test_rows_that_are_marked_give_what_the_frame_of_the_model_gives(architecture):
    model, tokenizer = ranker(architecture, "left" if architecture in DECODERS else "right")
    frame = attached(model).pair
    plain = predict(model, tokenizer, rows_for(tokenizer))
    with at_profile(model, HARSH):
        framed = predict(model, tokenizer, rows_for(tokenizer))
        alone = np.concatenate([predict(model, tokenizer, [row]) for row in rows_for(tokenizer)])
        attached(model).pair = None
        marked = predict(model, tokenizer, rows_for(tokenizer, frame))
        unprotected = predict(model, tokenizer, rows_for(tokenizer))
    assert np.abs(framed - marked).max() < 1e-5
    assert np.abs(framed - alone).max() < 1e-5
    assert np.abs(framed - plain).max() > 1e-5
    assert np.abs(framed - unprotected).max() > 1e-5


def test_keeping_all_is_the_plain_model_and_detaching_leaves_no_trace(tmp_path):
    model = cross_encoder(tmp_path)
    pairs = [(QUERY, text) for text in TEXTS]
    before = model.predict(pairs)
    attach(model)
    with at_profile(model, Profile.full(4)):
        assert np.abs(model.predict(pairs) - before).max() < 1e-6
    latadj.detach(model)
    assert (model.predict(pairs) == before).all()


QUERY = "the film music"
TEXTS = ["a very long story about people and music is good", "a film about people", "fine"]


def cross_encoder(folder):
    path = toy.write_model(folder / "ranker")
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(path, initializer_range=0.3, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(path)
    return CrossEncoder(str(path), device="cpu")


def test_a_cross_encoder_gets_a_dial_that_counts_its_query_and_protects_it(tmp_path):
    model = cross_encoder(tmp_path)
    pairs = [(QUERY, text) for text in TEXTS]
    dial = latadj.calibrate(model, model.tokenizer, pairs, max_speedup=1.5)
    assert dial.protected == 6
    inner = model.model
    batch = model.tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    _, alive = survivors_of(
        inner, batch["attention_mask"], dial.profile(1.3), lambda: model.predict(pairs[:1] * 3, batch_size=3)
    )
    assert all(survivors[:, :5].all() for survivors in alive[:-1])
    assert not alive[-2].all()


def test_another_cross_encoder_that_takes_the_dial_ranks_as_the_first(tmp_path):
    model, pairs = cross_encoder(tmp_path), [(QUERY, text) for text in TEXTS]
    dial = latadj.calibrate(model, model.tokenizer, pairs, max_speedup=1.5)
    other = latadj.attach(CrossEncoder(str(tmp_path / "ranker"), device="cpu"), dial, speedup=1.3)
    with latadj.at_speedup(model, 1.3):
        expected = model.predict(pairs)
        assert [hit["corpus_id"] for hit in model.rank(QUERY, TEXTS)] == np.argsort(-expected).tolist()
    assert np.abs(other.predict(pairs) - expected).max() < 1e-6
    assert attached(other).pair == PairFrame(1, (3,), 1)


def test_a_dial_that_protects_nothing_leaves_the_query_to_its_score(tmp_path):
    model, pairs = cross_encoder(tmp_path), [(QUERY, text) for text in TEXTS]
    dial = latadj.calibrate(model, model.tokenizer, pairs, max_speedup=1.5)
    latadj.attach(model, latadj.Dial(**{**vars(dial), "protected": 0}))
    assert attached(model).pair is None


def test_a_query_that_nothing_ends_is_not_protected_and_a_dial_that_protects_it_is_refused(tmp_path):
    model, pairs = cross_encoder(tmp_path), [(QUERY, text) for text in TEXTS]
    dial = latadj.calibrate(model, model.tokenizer, pairs, max_speedup=1.5)
    pair_tokenizer("bare").save_pretrained(tmp_path / "ranker")
    bare = CrossEncoder(str(tmp_path / "ranker"), device="cpu")
    assert attached(latadj.attach(bare)).pair is None
    with pytest.raises(ValueError, match="puts no token between query and document"):
        latadj.attach(bare, dial)


def test_the_toy_tokenizer_frames_as_bert_does(tmp_path):
    toy.write_model(tmp_path)
    assert PairFrame.of(BertTokenizerFast.from_pretrained(tmp_path)) == PairFrame(1, (3,), 1)


@pytest.mark.parametrize(("protected", "found"), [(0.0, 4), (7.4, 7), (90.0, 20)])
def test_tokens_of_no_text_are_made_a_pair_of_which_about_as_many_are_protected(protected, found):
    frame = PairFrame(before=1, between=(102, 102), behind=1)
    ids = np.arange(20)
    frame.separate(ids, protected)
    start, stop = frame.spans(ids.tolist())[1:3]
    assert len(ids) - (stop - start) == found
    short = np.arange(3)
    frame.separate(short, protected)
    assert short.tolist() == [0, 1, 2]
