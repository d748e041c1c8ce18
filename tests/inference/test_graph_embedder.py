"""Graphs of a model that embeds texts, which `latadj.load` gives as a `SentenceTransformer`."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from helpers.made_once import made_once
from helpers.served_model import write_graph_clock
from helpers.tiny_embedders import TEXTS, write_exported
from sentence_transformers import SentenceTransformer

import latadj
from latadj.checkpoints import embedding_model
from latadj.elimination.attach import dial_of
from latadj.runtime.place import cpu_threads


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made_once(tmp_path_factory, "exported-embedder", write_exported) / "out"


@pytest.fixture(scope="module")
def graphs(root):
    return root / "exported"


@pytest.fixture(scope="module")
def plain(root):
    """The model that the graphs were made of."""
    return latadj.load(root / "checkpoint", precision=None)


@pytest.mark.parametrize("speedup", [1, 1.5, 2.5])
def test_encode_gives_what_the_checkpoint_gives_at_every_speedup(graphs, plain, speedup):
    model = latadj.load(graphs)
    assert isinstance(model, SentenceTransformer)
    with latadj.at_speedup(model, speedup), latadj.at_speedup(plain, speedup):
        assert model.encode(TEXTS) == pytest.approx(plain.encode(TEXTS), abs=1e-5)


def test_the_dial_is_turned_for_all_threads_or_for_one(graphs):
    model = latadj.load(graphs, speedup=2.5)
    fast = model.encode(TEXTS)

    def at(speedup):
        with latadj.at_speedup(model, speedup):
            return model.encode(TEXTS)

    whole = at(1)
    assert whole != pytest.approx(fast, abs=1e-3)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            assert all(map(np.array_equal, pool.map(at, (1, 2.5)), (whole, fast)))
    latadj.set_speedup(model, 1)
    assert np.array_equal(model.encode(TEXTS), whole)


def test_prompts_and_similarity_are_the_models_own(graphs, plain):
    model = latadj.load(graphs)
    for options in ({}, {"prompt_name": "document"}, {"prompt": "good "}):
        assert model.encode(TEXTS, **options) == pytest.approx(plain.encode(TEXTS, **options), abs=1e-5)
    assert model.encode(TEXTS) != pytest.approx(model.encode(TEXTS, prompt=""), abs=1e-3)
    vectors = model.encode(TEXTS)
    assert model.similarity(vectors, vectors).numpy() == pytest.approx(vectors @ vectors.T, abs=1e-4)


def test_long_texts_are_cut_where_the_model_cuts_them(graphs, plain):
    long = [" ".join(["story"] * 100)]
    model = latadj.load(graphs)
    assert model.max_seq_length == plain.max_seq_length == 32
    assert model.encode(long) == pytest.approx(plain.encode(long), abs=1e-5)
    model.max_seq_length = 8
    assert model.encode(long) != pytest.approx(plain.encode(long), abs=1e-3)


def test_the_size_of_an_embedding_is_known_before_a_text_is(graphs, plain):
    model = latadj.load(graphs)
    assert model.get_embedding_dimension() == plain.get_embedding_dimension() == 24
    assert model.encode(TEXTS).shape == (len(TEXTS), 24)
    for size in (8, 32):
        assert model.encode(TEXTS, truncate_dim=size) == pytest.approx(plain.encode(TEXTS, truncate_dim=size), abs=1e-5)


def test_speedups_are_in_time_where_the_graphs_were_measured(graphs, tmp_path):
    folder = shutil.copytree(graphs, tmp_path / "measured")
    write_graph_clock(folder, cpu_threads(None))
    assert dial_of(latadj.load(folder, speedup=2)).target == "latency"
    assert dial_of(latadj.load(graphs, speedup=2)).target == "flops"


def test_graphs_are_not_saved_as_a_model(graphs, tmp_path):
    model = latadj.load(graphs)
    for save in (lambda: model.save_pretrained(str(tmp_path / "a")), lambda: latadj.save(model, None, tmp_path / "b")):
        with pytest.raises(ValueError, match="holds graphs, which have no weights to save"):
            save()
    assert not list(tmp_path.iterdir())


def test_the_extra_is_named_where_it_is_missing(graphs, monkeypatch):
    def none(name: str) -> None:
        return None

    monkeypatch.setattr(embedding_model, "find_spec", none)
    with pytest.raises(ValueError, match=r"pip install 'latadj\[sentence-transformers\]'"):
        latadj.load(graphs)
