"""Graphs of models that embed texts: pooling is in the graph, and so is the dial."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.command_line import run
from helpers.tiny_embedders import TEXTS, write_embedder

import latadj
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.task_spec import TaskSpec
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import dial_of
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import with_levels
from latadj.elimination.sentence_transformer import pipeline_of, transformer_of
from latadj.export.folder import check_exportable
from latadj.runtime import Predictor


def write_checkpoint(root, pooling):
    """An embedder whose dial has a narrower level, and spares texts of a few words."""
    model, tokenizer = checkpoint.load(write_embedder(root / "embedder", pooling=pooling, layers=2), head="embedding")
    pipeline_of(model).prompts = {"query": "good "}
    reads = "pooled" if pooling == "cls" else "all"
    dial = Dial(layer_acc=(0.9, 0.8), lengths=tuple(range(6, 24)), shapes=layer_shapes(model), reads=reads)
    dial = with_levels(replace(dial, profile_type="geometric", widths=(0.5,)), [2])
    dial = replace(dial, anchors=tuple(replace(one, whole_length=3.0) for one in dial.anchors))
    task_spec = TaskSpec("embedding", ["text"], [], "fidelity", 16, 8)
    checkpoint.save(model, tokenizer, root / "checkpoint", CheckpointMetadata("embedding", dial, task_spec=task_spec))
    return root / "checkpoint"


def export(folder, *options):
    target = folder.parent / "-".join(["graphs", *(option.partition("=")[2] for option in options)])
    run("export", f"checkpoint={folder}", f"folder={folder.parent / 'run'}", f"output={target}", *options)
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("embedder"), "mean")


@pytest.fixture(scope="module")
def graphs(folder):
    return export(folder)


def check_vectors(folder, graphs):
    """Graphs embed as the checkpoint does."""
    predictor, model = Predictor(graphs, threads=1, batch_size=5), latadj.load(folder, precision=None)
    for speedup in (1, 1.5, 2):
        with latadj.at_speedup(model, speedup):
            expected = model.encode(TEXTS)
        assert np.abs(predictor.embed(TEXTS, speedup=speedup) - expected).max() < 1e-5


def test_vectors_are_those_of_sentence_transformers_at_every_speedup(folder, graphs):
    check_vectors(folder, graphs)


def test_the_first_token_is_pooled_where_the_model_does(tmp_path):
    folder = write_checkpoint(tmp_path, "cls")
    check_vectors(folder, export(folder))


def test_openvino_embeds_too(folder):
    pytest.importorskip("openvino")
    check_vectors(folder, export(folder, "format=openvino"))


def test_int8_vectors_point_the_same_way(folder):
    predictor = Predictor(export(folder, "precision=int8"), threads=1)
    model = latadj.load(folder, precision=None)
    made, expected = predictor.embed(TEXTS), model.encode(TEXTS)
    assert not np.array_equal(made, expected)
    assert (made * expected).sum(axis=1).min() > 0.97


def test_the_folder_says_how_texts_are_embedded(graphs):
    manifest = Predictor(graphs, threads=1).manifest
    assert (manifest.type, manifest.labels, manifest.max_length) == ("embedding", [], 32)
    assert manifest.embedding.prompts["query"] == "good "
    assert manifest.embedding.pooling == "mean"


def test_long_texts_are_read_as_far_as_sentence_transformers_reads_them(folder, graphs):
    long = [" ".join(["story"] * 100)]
    made = Predictor(graphs, threads=1).embed(long)
    assert np.abs(made - latadj.load(folder, precision=None).encode(long)).max() < 1e-5


def test_the_first_numbers_alone_are_given(graphs):
    predictor = Predictor(graphs, threads=1)
    whole = predictor.embed(TEXTS)
    assert np.array_equal(predictor.embed(TEXTS, dimensions=8), whole[:, :8])
    predictor.manifest.embedding = replace(predictor.manifest.embedding, dimensions=12)
    assert np.array_equal(predictor.embed(TEXTS), whole[:, :12])
    for size in (0, 33):
        with pytest.raises(ValueError, match=f"dimensions={size}: expected 1 to 32, the numbers of an embedding"):
            predictor.embed(TEXTS, dimensions=size)


def test_vectors_are_not_labels(graphs):
    predictor = Predictor(graphs, threads=1)
    with pytest.raises(ValueError, match="holds no classifier: call `outputs` for arrays, or `embed`"):
        predictor(TEXTS)


def test_a_pooling_that_leaves_the_prompt_out_is_refused(folder):
    model = latadj.load(folder, precision=None)
    model[1].include_prompt = False
    inner = transformer_of(model)
    with pytest.raises(ValueError, match="leaves its prompt out of the pooling, and a graph does not see"):
        check_exportable(inner, dial_of(inner), 23)
