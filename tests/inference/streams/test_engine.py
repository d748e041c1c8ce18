"""Tokenising and padding by hand give what transformers gives."""

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.tiny_language_models import tiny_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from latadj.inference.streams.engine import Engine
from latadj.inference.streams.served_tasks import Labels
from latadj.tasks.encoding.batches import pad, tokenize

TEXTS = ["the film is good", "bad", "a very long story about people and music " * 9, "the film"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy.write_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("columns", [[TEXTS], [TEXTS, TEXTS[::-1]]])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [None, 32])
def test_a_padded_batch_is_what_the_tokenizer_makes(folder, columns, side, length):
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side=side)
    batch = pad(tokenize(columns, tokenizer, 20), tokenizer, length)
    padding = {"padding": "longest"} if length is None else {"padding": "max_length", "max_length": length}
    expected = tokenizer.pad(tokenizer(*columns, truncation=True, max_length=20), return_tensors="pt", **padding)
    assert set(expected) - set(batch) <= {"token_type_ids"}  # zeros all, of a text alone
    assert ("token_type_ids" in batch) == (len(columns) == 2)
    positions = batch.pop("position_ids", None)
    for name, value in batch.items():
        assert torch.equal(value, expected[name]), name
    if side == "left":
        lengths = batch["attention_mask"].sum(dim=1)
        assert [row[-length:].tolist() for row, length in zip(positions, lengths, strict=True)] == [
            list(range(length)) for length in lengths
        ]
    else:
        assert positions is None


def test_a_batch_without_token_types_has_none():
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "right"
    batch = pad(tokenize([["the speech", "it was long"]], tokenizer, 8), tokenizer)
    assert batch["attention_mask"].sum(dim=1).tolist() == [2, 3]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_texts_are_tokenised_in_parts_without_losing_any(monkeypatch, tokenizer):
    monkeypatch.setattr("latadj.tasks.encoding.batches.TOKENIZER_BATCH", 3)
    rows = tokenize([TEXTS * 2], tokenizer, 20)
    assert [row["input_ids"] for row in rows] == tokenizer(TEXTS * 2, truncation=True, max_length=20)["input_ids"]


def test_an_engine_answers_in_the_texts_order(folder, tokenizer):
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = Engine(model, tokenizer, Labels(("bad", "good")), 32, batch_size=3)([TEXTS])
    with torch.inference_mode():
        alone = [model(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits for text in TEXTS]
    assert found == pytest.approx(torch.cat(alone).softmax(dim=-1).numpy(), abs=1e-5)
    assert found.sum(axis=1) == pytest.approx(np.ones(4))
    values = Engine(model, tokenizer, Labels(()), 32, batch_size=3)([TEXTS])
    assert values == pytest.approx(torch.cat(alone).numpy(), abs=1e-5)
