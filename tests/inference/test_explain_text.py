"""What a classifier reads of a text: its words, who survives, and the answer, as the model itself gives them."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import DECODERS, ENCODERS, dial_for, tiny
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from latadj.elimination.attach import attach
from latadj.elimination.cost import schedule
from latadj.elimination.current_setting import at_profile, at_speedup
from latadj.elimination.profiles import Profile
from latadj.inference.explain import depth_of, pooled_column, read
from latadj.inference.explained_text import encode_text

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A BERT tokenizer that breaks words up."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##watch", "##able", "the", "film", "is", ",", "."]
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "vocab.txt").write_text("\n".join(words))
    return BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=40)


@pytest.fixture(scope="module")
def bytes_():
    """A byte-level tokenizer as GPT-2 has, which adds nothing to a text; of at most 120 ids, as the tiny models."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted({sign for sign in pre_tokenizers.ByteLevel.alphabet() if sign.isascii()})
    trainer = trainers.BpeTrainer(
        vocab_size=118, initial_alphabet=["Ġ", *alphabet], special_tokens=["<pad>", "</s>"], show_progress=False
    )
    tokenizer.train_from_iterator([LONG], trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", model_max_length=60)


def words(text):
    return [word.text for word in text.words if not word.special]


def test_a_word_owns_all_its_pieces_and_special_tokens_stand_where_they_are_read(pieces):
    text = encode_text(["The film is unwatchable, unable."], pieces, 40)
    shown = [(word.text, word.gap, word.pieces, word.special) for word in text.words]
    assert shown == [
        ("[CLS]", " ", (0,), True),
        ("The", " ", (1,), False),
        ("film", " ", (2,), False),
        ("is", " ", (3,), False),
        ("unwatchable", " ", (4, 5, 6), False),
        (",", "", (7,), False),
        ("unable", " ", (8, 9), False),
        (".", "", (10,), False),
        ("[SEP]", " ", (11,), True),
    ]
    assert [word.text for word in text.words if word.counts] == ["The", "film", "is", "unwatchable", "unable"]


def test_both_texts_of_a_pair_are_there_in_their_order(pieces):
    text = encode_text(["the film", "is unable"], pieces, 40)
    assert [(word.text, word.part) for word in text.words] == [
        ("[CLS]", 0),
        ("the", 0),
        ("film", 0),
        ("[SEP]", 0),
        ("is", 1),
        ("unable", 1),
        ("[SEP]", 0),
    ]


def test_words_beyond_the_limit_have_no_pieces(pieces):
    text = encode_text(["the film is the film is"], pieces, 5)
    assert [(word.text, word.pieces) for word in text.words] == [
        ("[CLS]", (0,)),
        ("the", (1,)),
        ("film", (2,)),
        ("is", (3,)),
        ("the", ()),
        ("film", ()),
        ("is", ()),
        ("[SEP]", (4,)),
    ]


def _unread(text):
    return (word for word in text.words if not word.pieces and word.text != ",")


def test_of_a_very_long_text_only_the_beginning_is_looked_at(pieces, caplog):
    text = encode_text(["the film, is " * 100_000], pieces, 12)
    assert text.tokens == 12
    assert len(text.words) < 30_000
    assert sum(word.counts for word in text.words) + len([*_unread(text)]) + text.words_beyond == 300_000
    assert "the model reads 12 tokens: of the text only 65,536 characters are looked at" in caplog.text


def test_marks_inside_a_word_belong_to_it_and_each_chinese_sign_is_one(bytes_):
    assert words(encode_text(["It isn't Zoe's cafe-bar: 3.5 stars!"], bytes_, 60)) == [
        *("It", "isn't", "Zoe's", "cafe-bar", ":", "3.5", "stars", "!")
    ]
    bert = BertTokenizerFast(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "好": 5, "看": 6})
    assert [(word.text, word.pieces) for word in encode_text(["好看 the"], bert, 9).words[1:-1]] == [
        ("好", (1,)),
        ("看", (2,)),
        ("the", (3,)),
    ]


def test_every_piece_of_a_byte_level_text_is_owned_once(bytes_):
    text = encode_text([f"  {LONG} \n"], bytes_, 60)
    assert words(text) == LONG.split()
    assert sorted(piece for word in text.words for piece in word.pieces) == list(range(text.tokens))


def test_a_text_without_words_is_refused(pieces):
    with pytest.raises(ValueError, match="no word in this text"):
        encode_text(["\u200b"], pieces, 40)


def test_a_word_is_alive_while_any_of_its_pieces_is():
    alive = [frozenset({0, 1, 2, 4}), frozenset({0, 2}), frozenset({0})]
    assert [depth_of(own, alive) for own in [(0,), (1, 2), (3,), (3, 4), ()]] == [3, 2, 0, 1, 0]


@pytest.mark.parametrize("profile_type", [*ENCODERS, *DECODERS])
def test_it_is_what_the_model_does_at_that_speed(profile_type, bytes_):
    model = tiny(profile_type)
    attach(model, dial_for(model, profile_type="geometric"))
    text = encode_text([LONG], bytes_, 60)
    last = 0 if profile_type in ENCODERS else text.tokens - 1
    assert pooled_column(model, text) == last
    for speedup in (1.0, 2.0):
        reading = read(model, text, speedup)
        with at_speedup(model, speedup), torch.inference_mode():
            expected = model(**text.inputs).logits[0].softmax(-1)
        assert reading.outputs == tuple(expected.tolist())
        counts = schedule(Profile(reading.keep), np.array([text.tokens]), "pooled")[1:, 0]
        assert reading.left == tuple(counts.tolist())
        assert [sum(shares) for shares in reading.acc] == pytest.approx([1.0] * 4, abs=1e-5)
        for word, depth in zip(text.words, reading.depth, strict=True):
            assert (depth == 4) == (last in word.pieces)
            shares = [shares[text.words.index(word)] for shares in reading.acc]
            assert all(share > 0 for share in shares[: depth + 1])
            assert all(share == 0 for share in shares[depth + 1 :])
    assert min(read(model, text, 1.0).depth) == 3
    assert min(reading.depth) < 3


@pytest.mark.parametrize("profile_type", ["bert", "llama"])
def test_who_is_gone_left_no_layer(profile_type, bytes_):
    model = tiny(profile_type)
    attach(model, dial_for(model, profile_type="geometric", score="position"))
    text = encode_text([LONG], bytes_, 60)
    reading = read(model, text, 2.0)
    gone = [word for word, depth in zip(text.words, reading.depth, strict=True) if depth == 0]
    kept = [word for word, depth in zip(text.words, reading.depth, strict=True) if depth >= 2]
    assert gone
    assert kept
    seen = []
    with at_profile(
        model, Profile(reading.keep), survivor_observer=lambda layer, leaving: seen.append(leaving.places()[0])
    ):
        model(**text.inputs)
    first = set(seen[0].tolist())
    assert all(not first & set(word.pieces) for word in gone)
    assert all(first & set(word.pieces) for word in kept)


def test_a_regression_gives_its_value(bytes_):
    model = tiny("bert", num_labels=1)
    attach(model, dial_for(model, profile_type="geometric"))
    text = encode_text([LONG], bytes_, 60)
    with torch.inference_mode():
        assert read(model, text, 1.0).outputs == (model(**text.inputs).logits.item(),)


def test_what_is_no_number_is_not_explained(bytes_):
    model = tiny("bert")
    model.get_input_embeddings().weight.data.fill_(torch.nan)
    attach(model, dial_for(model, profile_type="geometric"))
    with pytest.raises(ValueError, match="the model answers NaN or infinity"):
        read(model, encode_text([LONG], bytes_, 60), 2.0)


def test_a_head_that_reads_all_survivors_has_no_pooled_position(bytes_):
    model = tiny("t5")
    attach(model, dial_for(model, profile_type="geometric"))
    text = encode_text([LONG + "</s>"], bytes_, 60)
    assert pooled_column(model, text) is None
    reading = read(model, text, 1.5)
    assert reading.left == tuple(schedule(Profile(reading.keep), np.array([text.tokens]), "survivors")[1:, 0].tolist())
    assert max(reading.depth) == 4
