"""Folders of sentence-transformers: loaded, saved with a dial, refused where they would run or unpickle something."""

from dataclasses import replace
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
from helpers import toy_project as toy
from helpers.tiny_embedders import TEXTS, write_embedder, write_modules
from sentence_transformers import SentenceTransformer

import latadj
from latadj.checkpoints import checkpoint, embedding_model
from latadj.checkpoints.metadata import check
from latadj.elimination.layer_structure import LayerStructure, ModelStructure
from latadj.elimination.sentence_transformer import pipeline_of


@pytest.fixture
def folder(tmp_path):
    return write_embedder(tmp_path / "model")


@pytest.fixture
def dialed(folder, tmp_path):
    """The folder of a model with a dial."""
    model = latadj.load(folder, precision=None)
    latadj.calibrate(model, model.tokenizer, TEXTS, max_speedup=3)
    latadj.save(model, model.tokenizer, tmp_path / "dialed")
    return tmp_path / "dialed"


def test_load_gives_a_sentence_transformer_at_the_speedup_that_was_asked_for(dialed):
    model = latadj.load(dialed, speedup=2)
    assert isinstance(model, SentenceTransformer)
    assert latadj.speedup_of(model) == pytest.approx(2, rel=0.2)
    assert model.encode(TEXTS).shape == (len(TEXTS), 32)
    assert model.similarity(model.encode(TEXTS), model.encode(TEXTS)).shape == (len(TEXTS),) * 2


def test_a_saved_dial_is_there_again_and_sentence_transformers_loads_the_folder_as_the_full_model(folder, dialed):
    plain = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.array_equal(SentenceTransformer(str(dialed), device="cpu").encode(TEXTS), plain)
    assert np.abs(latadj.load(dialed).encode(TEXTS) - plain).max() < 1e-6


def test_a_model_that_sentence_transformers_saves_keeps_its_dial(dialed, tmp_path):
    latadj.load(dialed, precision=None).save_pretrained(str(tmp_path / "again"))
    assert latadj.load(tmp_path / "again", speedup=2)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_every_precision_embeds_in_numbers_that_numpy_has(dialed, precision):
    embeddings = latadj.load(dialed, precision=precision).encode(TEXTS)
    assert embeddings.dtype == np.float32
    assert (embeddings * latadj.load(dialed).encode(TEXTS)).sum(axis=1).min() > 0.97


def test_a_classifiers_folder_is_none_that_embeds(tmp_path):
    toy.write_model(tmp_path / "model")
    with pytest.raises(ValueError, match="made for classification, not for embedding"):
        checkpoint.load(tmp_path / "model", head="embedding")


def test_without_a_list_of_modules_the_pooling_is_not_known(folder):
    (folder / "modules.json").unlink()
    with pytest.raises(ValueError, match=r"does not say how it pools tokens to an embedding: no modules\.json"):
        checkpoint.load(folder, head="embedding")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "modules.json"),
        ("{}", "expected a list of modules"),
        ("[]", "expected a list of modules"),
        ('[{"type": 3, "path": ""}]', "expected a list of modules"),
    ],
)
def test_a_damaged_list_of_modules_is_one_line(folder, content, message):
    (folder / "modules.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        latadj.load(folder)
    assert "\n" not in str(error.value)


def test_modules_of_others_run_only_when_they_are_trusted(folder):
    write_modules(folder, ["Transformer", "os.path.Pooling"])
    with pytest.raises(ValueError, match=r"module 'os.path.Pooling' is not one of sentence-transformers"):
        latadj.load(folder)


def test_weights_of_modules_are_never_unpickled(folder):
    write_modules(folder, ["Transformer", "Pooling", "Dense"])
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin would be unpickled"):
        latadj.load(folder)


def test_a_pruned_model_is_refused_by_name(dialed):
    pruned = ModelStructure((LayerStructure.whole(heads=4, neurons=64),) * 4)
    with pytest.raises(ValueError, match="is pruned, and sentence-transformers loads whole models only"):
        checkpoint.load(dialed, metadata=replace(check(dialed), pruning=pruned))


def test_the_extra_is_named_where_it_is_missing(folder, monkeypatch):
    def none(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(embedding_model, "find_spec", none)
    with pytest.raises(ValueError, match=r"pip install 'latadj\[sentence-transformers\]'"):
        latadj.load(folder)


def test_a_transformer_knows_the_modules_after_it(folder):
    model, _ = checkpoint.load(folder)
    assert isinstance(pipeline_of(model), SentenceTransformer)
