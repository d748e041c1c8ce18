"""A dial in a model of sentence-transformers."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.tiny_embedders import TEXTS, embedder
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import nn

import latadj
from latadj.elimination.attach import attached, is_attached
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.elimination.sentence_transformer import transformer_of

CUT = Profile((0.8, 0.6, 0.5, 0.3))
POOLINGS = ("mean", "cls", "max", "lasttoken")


# Decoders read all of a text at its last token.
EMBEDDERS = [("bert", pooling) for pooling in POOLINGS] + [
    (architecture, pooling) for architecture in ("qwen3", "mistral") for pooling in ("lasttoken", "mean")
]


@pytest.fixture(params=EMBEDDERS, ids="-".join)
def model(request, tmp_path):
    architecture, pooling = request.param
    return embedder(tmp_path / "model", architecture=architecture, pooling=pooling)


def test_keeping_all_gives_the_embeddings_of_sentence_transformers_and_detaching_leaves_no_trace(model):
    before = model.encode(TEXTS)
    assert latadj.attach(model) is model
    assert np.abs(model.encode(TEXTS) - before).max() < 1e-6
    with at_profile(model, CUT):
        assert np.abs(model.encode(TEXTS) - before).max() > 1e-3
    latadj.detach(model)
    assert not is_attached(model)
    assert (model.encode(TEXTS) == before).all()


def test_a_text_alone_has_the_embedding_that_it_has_in_a_batch(model):
    latadj.attach(model)
    with at_profile(model, CUT):
        alone = np.concatenate([model.encode([text]) for text in TEXTS])
        assert np.abs(model.encode(TEXTS) - alone).max() < 1e-5


@pytest.mark.parametrize(
    ("architecture", "pooling", "reads"),
    [
        ("bert", "mean", ALL),
        ("bert", "cls", POOLED),
        ("bert", "max", ALL),
        ("bert", "lasttoken", ALL),
        ("qwen3", "lasttoken", POOLED),
        ("qwen3", "cls", ALL),
        ("qwen3", "mean", ALL),
    ],
)
def test_what_is_read_follows_from_the_pooling(architecture, pooling, reads, tmp_path):
    model = embedder(tmp_path / "model", architecture=architecture, pooling=pooling)
    assert attached(latadj.attach(model)).reads == reads


@pytest.mark.parametrize("architecture", ["qwen3", "mistral"])
@pytest.mark.parametrize("speedup", [1.0, 2.0])
def test_a_decoder_that_embeds_by_its_last_token_does_so_wherever_padding_is(architecture, speedup, tmp_path):
    model = embedder(tmp_path / "model", architecture=architecture, pooling="lasttoken")
    plain = model.encode(TEXTS)
    latadj.calibrate(model, model.tokenizer, TEXTS, max_speedup=2)
    found = {}
    for side in ("right", "left"):
        model.tokenizer.padding_side = side
        with latadj.at_speedup(model, speedup):
            found[side] = model.encode(TEXTS)
    assert np.abs(found["left"] - found["right"]).max() < 1e-5
    assert (np.abs(found["right"] - plain).max() < 1e-5) == (speedup == 1.0)


def test_a_decoder_that_embeds_by_its_last_token_computes_no_other_in_its_last_layer(tmp_path):
    model = latadj.attach(embedder(tmp_path / "model", architecture="qwen3", pooling="lasttoken"))
    rows = []
    mlp = transformer_of(model).layers[-1].mlp
    mlp.register_forward_hook(lambda module, args, output: rows.append(args[0].shape[:-1].numel()))
    model.encode(TEXTS, batch_size=len(TEXTS))
    assert rows == [len(TEXTS)]


def test_the_first_token_is_not_read_where_it_is_a_prompts_that_is_left_out(tmp_path):
    model = embedder(tmp_path / "model", pooling="cls")
    model[1].include_prompt = False
    assert attached(latadj.attach(model)).reads == ALL


def test_only_the_thread_that_turns_the_dial_is_faster(tmp_path):
    model = embedder(tmp_path / "model")
    latadj.calibrate(model, model.tokenizer, TEXTS, max_speedup=2)
    full = model.encode(TEXTS)
    with ThreadPoolExecutor() as pool, latadj.at_speedup(model, 1.5):
        assert latadj.speedup_of(model) > 1.2
        assert (pool.submit(model.encode, TEXTS).result() == full).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_a_dial_of_its_own(copied, tmp_path):
    model = embedder(tmp_path / "model")
    latadj.calibrate(model, model.tokenizer, TEXTS, max_speedup=2)
    other = copied(model)
    latadj.set_speedup(other, 1.5)
    assert latadj.speedup_of(model) == pytest.approx(1.0)
    assert transformer_of(other) is not transformer_of(model)
    assert not np.allclose(other.encode(TEXTS), model.encode(TEXTS))


def test_a_model_without_layers_is_refused(tmp_path):
    model = SentenceTransformer(modules=[_Words(), embedder(tmp_path / "model")[1]], device="cpu")
    with pytest.raises(ValueError, match="first module of this SentenceTransformer is a _Words"):
        latadj.attach(model)


def test_modules_that_pool_in_an_unknown_way_are_refused_unless_somebody_says_what_they_read(tmp_path):
    model = embedder(tmp_path / "model")
    unknown = SentenceTransformer(modules=[model[0], _Words()], device="cpu")
    with pytest.raises(ValueError, match="comes a _Words, and latadj knows what sentence-transformers' Pooling reads"):
        latadj.attach(unknown)
    assert attached(latadj.attach(unknown, reads="all")).reads == ALL


def test_a_model_that_was_calibrated_and_detached_knows_nothing_of_it(tmp_path):
    model = embedder(tmp_path / "model")
    before = {name: set(module.__dict__) for name, module in model.named_modules()}
    latadj.calibrate(model, model.tokenizer, TEXTS, max_speedup=2)
    latadj.detach(model)
    assert {name: set(module.__dict__) for name, module in model.named_modules()} == before


def test_a_cross_encoder_is_read_where_its_head_reads(tmp_path):
    toy.write_model(tmp_path / "ranker")
    model = CrossEncoder(str(tmp_path / "ranker"), device="cpu")
    pairs = [(TEXTS[0], text) for text in TEXTS]
    before = model.predict(pairs)
    assert attached(latadj.attach(model)).reads == POOLED
    assert np.abs(model.predict(pairs) - before).max() < 1e-6
    latadj.calibrate(model, model.tokenizer, pairs, max_speedup=2)
    with latadj.at_speedup(model, 1.5):
        assert np.abs(model.predict(pairs) - before).max() > 1e-6


def test_several_texts_in_one_row_are_refused(tmp_path):
    inner = transformer_of(latadj.attach(embedder(tmp_path / "model")))
    ids = torch.ones(1, 7, dtype=torch.long)
    with pytest.raises(ValueError, match=r"cu_seq_lens_q: several texts in one row"):
        inner(input_ids=ids, cu_seq_lens_q=torch.tensor([0, 3, 7]))


def test_extract_is_refused(tmp_path):
    model = embedder(tmp_path / "model")
    latadj.calibrate(model, model.tokenizer, TEXTS, max_speedup=2)
    with pytest.raises(ValueError, match="sentence-transformers loads whole models only"):
        latadj.extract(model, 1.5)


def test_a_sequence_of_modules_that_is_no_sentence_transformer_is_none():
    model = nn.Sequential(nn.Linear(2, 2))
    assert transformer_of(model) is model
    assert not is_attached(model)


class _Words(nn.Module):
    """A module that knows no pooling."""

    def forward(self, features):
        return features
