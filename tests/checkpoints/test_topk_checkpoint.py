"""Hard attention of a saved model: kept in its folder, there again when it is loaded, shown by `latadj info`."""

import json

import pytest
import torch
from helpers import toy_project as toy
from typer.testing import CliRunner

import latadj
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, read_metadata, write_metadata
from latadj.cli import app
from latadj.elimination.attach import attach, detach, topk_attention_of
from latadj.elimination.topk_setting import TopKAttention
from latadj.pruning import PruningUnit, remove

HARD = TopKAttention((None, 0.25, None, 3))
IDS = torch.tensor([[2, 5, 11, 12, 13, 14, 15, 16, 3]])


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with top-k attention."""
    model, tokenizer = checkpoint.load(toy.write_model(tmp_path / "model"))
    checkpoint.save(attach(model, topk=HARD), tokenizer, tmp_path / "hard", CheckpointMetadata())
    return tmp_path / "hard"


def test_a_saved_model_attends_as_before_when_it_is_loaded(folder):
    soft, _ = checkpoint.load(folder.parent / "model")
    model, _ = checkpoint.load(folder)
    assert topk_attention_of(model) == HARD
    assert torch.equal(logits(model), logits(attach(soft, topk=HARD)))
    assert not torch.allclose(logits(model), logits(detach(soft)), atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_is_there_in_every_precision(folder, precision):
    model, _ = latadj.load(folder, precision=precision)
    assert topk_attention_of(model) == HARD


def test_a_pruned_model_keeps_it_too(folder, tmp_path):
    model, tokenizer = checkpoint.load(folder)
    remove(model, [PruningUnit("head", 3, 1), PruningUnit("attention", 1, 0)])
    checkpoint.save(model, tokenizer, tmp_path / "pruned", read_metadata(folder))
    again, _ = checkpoint.load(tmp_path / "pruned")
    assert topk_attention_of(again) == HARD
    assert torch.allclose(logits(again), logits(model), atol=1e-6)


def test_a_model_that_nothing_is_attached_to_is_saved_with_what_its_sidecar_says(folder, tmp_path):
    model, tokenizer = checkpoint.load(folder)
    checkpoint.save(detach(model), tokenizer, tmp_path / "again", read_metadata(folder))
    assert read_metadata(tmp_path / "again").topk_attention == HARD


def test_a_file_from_before_hard_attention_loads(folder):
    data = json.loads((folder / "latadj.json").read_text())
    assert data.pop("topk_attention") == [None, 0.25, None, 3]
    (folder / "latadj.json").write_text(json.dumps(data))
    assert read_metadata(folder).topk_attention is None
    assert topk_attention_of(checkpoint.load(folder)[0]) is None


@pytest.mark.parametrize("data", [[0, None, None, None], "soft", [0.5, 7.5]], ids=str)
def test_a_damaged_entry_is_refused_with_what_to_do(folder, data):
    found = json.loads((folder / "latadj.json").read_text())
    (folder / "latadj.json").write_text(json.dumps({**found, "topk_attention": data}))
    with pytest.raises(ValueError, match=r"latadj.json: top-?k.attention.*make it anew with `latadj calibrate`"):
        checkpoint.load(folder)


def test_that_of_another_number_of_layers_is_refused(folder):
    write_metadata(folder, CheckpointMetadata(topk_attention=TopKAttention((2, 2))))
    with pytest.raises(ValueError, match=r"checkpoint .*: top-k attention for a model of 2 layers, the model has 4"):
        checkpoint.load(folder)


def test_info_shows_it(folder):
    shown = CliRunner().invoke(app, ["info", str(folder)], catch_exceptions=False).stdout
    assert "layer 2: 25% of the keys, layer 4: 3 keys" in shown
    found = CliRunner().invoke(app, ["info", str(folder), "--json"], catch_exceptions=False).stdout
    assert json.loads(found)["topk_attention"] == [None, 0.25, None, 3]
    plain = CliRunner().invoke(app, ["info", str(folder.parent / "model")], catch_exceptions=False).stdout
    assert "top-k attention" not in plain
