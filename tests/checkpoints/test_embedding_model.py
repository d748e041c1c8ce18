"""Folders of sentence-transformers: loaded, saved with a dial, refused where they would run or unpickle something."""

import json
from dataclasses import replace
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
from helpers import toy_project as toy
from helpers.tiny_embedders import TEXTS, write_embedder, write_modules
from sentence_transformers import SentenceTransformer

import latadj
from latadj.calibration import calibrate_model
from latadj.checkpoints import checkpoint, embedding_model
from latadj.checkpoints.metadata import check
from latadj.checkpoints.task_spec import type_of
from latadj.elimination.layer_structure import LayerStructure, ModelStructure
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.tasks.encoding.batches import tokenize
from latadj.tasks.outputs.embeddings import EmbeddingOutputs
from latadj.tasks.outputs.predict import predict

try:
    from sentence_transformers.base.modules import Dense
except ImportError:  # sentence-transformers 5.2
    from sentence_transformers.models import Dense


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
        checkpoint.load(folder, head="embedding")
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


def test_weights_beside_which_safe_ones_stand_are_not_read(folder):
    write_modules(folder, ["Transformer", "Pooling", "Dense"])
    (folder / "2_Dense").mkdir()
    for name in ("pytorch_model.bin", "model.safetensors"):
        (folder / "2_Dense" / name).write_bytes(b"")
    embedding_model.check_modules(folder)


def test_a_model_is_saved_over_itself(dialed):
    model = latadj.load(dialed, precision=None)
    latadj.save(model, model.tokenizer, dialed)
    assert latadj.load(dialed, speedup=2)


def test_modules_with_weights_embed_as_they_do_in_sentence_transformers(folder, tmp_path):
    plain = SentenceTransformer(str(folder), device="cpu")
    dense = Dense(32, 8)
    SentenceTransformer(modules=[plain[0], plain[1], dense], device="cpu").save_pretrained(str(tmp_path / "dense"))
    model, tokenizer = checkpoint.load(tmp_path / "dense", head="embedding")
    expected = SentenceTransformer(str(tmp_path / "dense"), device="cpu").encode(TEXTS)
    found = predict(model, tokenizer, tokenize([TEXTS], tokenizer, 32), outputs=EmbeddingOutputs())
    assert found.shape == (len(TEXTS), 8)
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(("prompts", "default"), [({"query": "good ", "document": "bad "}, "document"), ({}, None)])
def test_calibration_reads_texts_behind_the_prompt_that_encode_puts_there(folder, prompts, default, monkeypatch):
    model = SentenceTransformer(str(folder), device="cpu", prompts=prompts, default_prompt_name=default)
    read = []

    def noted(columns, *args):
        read.extend(columns[0])
        return tokenize(columns, *args)

    monkeypatch.setattr(calibrate_model, "tokenize", noted)
    latadj.calibrate(model, model.tokenizer, TEXTS, max_speedup=2)
    assert read == [("bad " if default else "") + text for text in TEXTS]


def test_a_decoder_that_embeds_is_no_language_model(tmp_path):
    folder = write_embedder(tmp_path / "model", pooling="lasttoken")
    shape = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**shape, "architectures": ["BertLMHeadModel"]}))
    assert type_of(folder, None) == "embedding"
    assert isinstance(latadj.load(folder), SentenceTransformer)


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
