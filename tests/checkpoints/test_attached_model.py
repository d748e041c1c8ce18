"""However an attached model is saved, `latadj.load` finds its dial in the folder."""

import copy
import pickle

import pytest
import torch
from helpers import toy_project as toy
from helpers.tiny_models import dial_for
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import latadj
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, TaskSpec, read_metadata, write_metadata
from latadj.elimination import saving
from latadj.elimination.attach import attached, dial_of
from latadj.elimination.notices import warn_once
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning import PruningUnit, remove, structure_of

IDS = torch.tensor([[2, 5, 11, 12, 13, 14, 15, 16, 3]])


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.fixture
def loaded(tmp_path):
    """An ordinary model with a dial of its own, and its tokenizer."""
    folder = toy.write_model(tmp_path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return latadj.attach(model, dial_for(model)), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("how", ["save_pretrained", "save", "a copy", "a pickle"])
def test_the_dial_is_beside_the_weights(loaded, tmp_path, how):
    model, tokenizer = loaded
    folder = tmp_path / "saved"
    if how == "save":
        latadj.save(model, tokenizer, folder)
    else:
        one = {"a copy": copy.deepcopy, "a pickle": lambda model: pickle.loads(pickle.dumps(model))}.get(how)
        (one(model) if one else model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    again, _ = latadj.load(folder, precision=None, speedup=2)
    assert dial_of(again) == dial_of(model)
    latadj.set_speedup(model, 2)
    assert torch.equal(logits(again), logits(model))


def test_what_the_folder_said_of_its_task_is_kept_with_a_new_dial(loaded, tmp_path):
    model, tokenizer = loaded
    spec = TaskSpec("classification", ["text"], ["no", "yes"], "accuracy", 64, 8)
    checkpoint.save(model, tokenizer, tmp_path / "first", CheckpointMetadata("toy", dial_of(model), task_spec=spec))
    again, _ = latadj.load(tmp_path / "first", precision=None)
    latadj.attach(again, dial_for(again, profile_type="geometric"))
    latadj.save(again, tokenizer, tmp_path / "second")
    found = read_metadata(tmp_path / "second")
    assert (found.task, found.task_spec, found.dial.profile_type) == ("toy", spec, "geometric")


def test_a_pruned_model_saved_by_transformers_loads(loaded, tmp_path):
    model, tokenizer = loaded
    remove(model, [PruningUnit("head", 3, 1)])
    latadj.attach(model, dial_for(model))
    model.save_pretrained(tmp_path / "pruned")
    tokenizer.save_pretrained(tmp_path / "pruned")
    again, _ = latadj.load(tmp_path / "pruned", precision=None)
    assert structure_of(again) == structure_of(model)
    assert torch.allclose(logits(again), logits(model), atol=1e-6)


def test_a_detached_model_is_saved_as_transformers_saves_it(loaded, tmp_path):
    model, _ = loaded
    latadj.detach(model).save_pretrained(tmp_path / "plain")
    assert not (tmp_path / "plain" / "latadj.json").exists()
    assert model.save_pretrained.__func__ is type(model).save_pretrained


def test_another_process_of_a_run_writes_nothing(loaded, tmp_path):
    loaded[0].save_pretrained(tmp_path / "saved", is_main_process=False)
    assert not (tmp_path / "saved" / "latadj.json").exists()


@pytest.mark.parametrize("first", ["attached", "lowered"])
def test_a_lowered_model_still_has_no_weights_to_save(tmp_path, first):
    model, _ = checkpoint.load(toy.write_model(tmp_path / "model"))
    if first == "lowered":
        latadj.detach(model)
    lower(model, KernelSpec("fp32", "plain"))
    for change in (latadj.attach, latadj.attach, latadj.detach):
        with pytest.raises(ValueError, match="holds no weights to save"):
            change(model).save_pretrained(tmp_path / "saved")


def test_a_folder_of_something_else_is_not_replaced(loaded, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds .*no part of a saved model"):
        latadj.save(*loaded, tmp_path)


def test_whoever_uses_elimination_alone_is_told_that_the_dial_is_not_saved(loaded, tmp_path, monkeypatch, caplog):
    warn_once.cache_clear()
    monkeypatch.setattr(saving, "_WRITERS", [])
    loaded[0].save_pretrained(tmp_path / "saved")
    assert "save with latadj.save" in caplog.text


def test_a_head_that_shares_an_attached_base_cannot_take_it_off(loaded):
    model, _ = loaded
    with pytest.raises(ValueError, match="attached through another model that has the same base as this BertModel"):
        latadj.detach(model.bert)
    assert attached(model).dial is not None


def test_an_empty_sidecar_is_not_written(tmp_path):
    model, _ = checkpoint.load(toy.write_model(tmp_path / "model"))
    write_metadata(tmp_path / "model", CheckpointMetadata())
    model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "latadj.json").exists()
