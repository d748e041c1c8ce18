"""Embeddings of which only the beginning is read, and those whose beginnings are taught."""

import pytest
import torch
from helpers.tiny_embedders import TEXTS, write_embedder

from latadj.checkpoints import checkpoint
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.tasks.encoding.batches import tokenize
from latadj.tasks.outputs.embeddings import (
    EmbeddingOutputs,
    WholeEmbeddings,
    embedding_size,
    require_dimensions,
)
from latadj.tasks.outputs.predict import predict


@pytest.fixture
def loaded(tmp_path):
    return checkpoint.load(write_embedder(tmp_path / "model"))


@pytest.mark.parametrize(("own", "asked", "size"), [(None, 8, 8), (12, None, 12), (12, 20, 20), (None, None, 32)])
def test_as_many_numbers_are_read_as_encode_gives(loaded, own, asked, size):
    model, tokenizer = loaded
    pipeline = pipeline_of(model)
    pipeline.truncate_dim = own
    found = predict(model, tokenizer, tokenize([TEXTS], tokenizer, 32), outputs=EmbeddingOutputs(asked))
    assert found.shape == (len(TEXTS), size)
    assert found == pytest.approx(pipeline.encode(TEXTS, truncate_dim=asked), abs=1e-6)


def test_training_sees_all_numbers_whatever_is_read(loaded):
    model, tokenizer = loaded
    pipeline_of(model).truncate_dim = 8
    found = predict(model, tokenizer, tokenize([TEXTS], tokenizer, 32), outputs=EmbeddingOutputs(4).raw())
    assert found.shape == (len(TEXTS), embedding_size(model)) == (len(TEXTS), 32)


def test_the_divergence_of_beginnings_is_added_to_that_of_the_whole():
    ours, theirs = torch.randn(2, 6, 32).unbind()
    alone = EmbeddingOutputs()
    parts = [alone.divergence(ours[:, :size], theirs[:, :size]) for size in (32, 16, 8)]
    assert WholeEmbeddings((16, 8)).divergence(ours, theirs) == pytest.approx(float(sum(parts)))
    assert WholeEmbeddings().divergence(ours, theirs) == pytest.approx(float(parts[0]))


def test_numbers_behind_a_beginning_teach_it_nothing():
    theirs = torch.randn(6, 32)
    ours = theirs.clone()
    ours[:, 8:] = torch.randn(6, 24)
    beginning = WholeEmbeddings((8,)).divergence(ours, theirs) - WholeEmbeddings().divergence(ours, theirs)
    assert float(beginning) == pytest.approx(0, abs=1e-6)


def test_beginnings_come_nearer_the_teachers_where_they_are_taught():
    """The same steps with and without: one map of a random embedding learns another's."""
    torch.manual_seed(0)
    inputs, teacher = torch.randn(64, 4), torch.randn(4, 16)
    teacher[:, 4:] *= 10  # so that of the whole embedding its beginning hardly counts
    theirs, cosines = inputs @ teacher, []
    for beginnings in ((), (4,)):
        torch.manual_seed(1)
        learnt = torch.randn(4, 16, requires_grad=True)
        optimizer = torch.optim.Adam([learnt], lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            WholeEmbeddings(beginnings).divergence(inputs @ learnt, theirs).backward()
            optimizer.step()
        ours = (inputs @ learnt).detach()
        cosines.append(EmbeddingOutputs().agreement(ours[:, :4].numpy(), theirs[:, :4].numpy()))
    assert cosines[1] > cosines[0] + 0.1


def test_more_numbers_than_there_are_are_refused(loaded):
    require_dimensions(loaded[0], "dimensions", [32])
    with pytest.raises(ValueError, match=r"task\.dimensions=33: the embeddings of this model have 32 numbers"):
        require_dimensions(loaded[0], "task.dimensions", [8, 33])
