"""A dial that goes by the order of heads and neurons is loaded with the weights that it was saved beside, or not."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.narrowed_reference import level_of
from helpers.tiny_models import REPRESENTATIVES, dial_for

import latadj
from latadj.checkpoints.metadata import read_metadata
from latadj.checkpoints.weight_order import order_checksum
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import dial_of
from latadj.elimination.profiles import Anchor
from latadj.pruning import UnitOrder, reorder


def with_widths(folder):
    """A model of a folder with a dial that was trained along width, and its tokenizer."""
    model, tokenizer = latadj.load(folder, precision=None)
    return latadj.attach(model, dial_for(model, widths=(0.5,))), tokenizer


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return toy.write_model(tmp_path_factory.mktemp("plain"), layers=2)


@pytest.fixture
def saved(plain, tmp_path):
    latadj.save(*with_widths(plain), tmp_path / "saved")
    return tmp_path / "saved"


def turn_neurons(model):
    """Bring the neurons of a model's last layer into another order; it computes what it computed before."""
    shapes = layer_shapes(model)
    neurons = [torch.arange(shape.neurons) for shape in shapes]
    neurons[-1] = neurons[-1].roll(1)
    reorder(model, UnitOrder(tuple(torch.arange(shape.heads) for shape in shapes), tuple(neurons)))


@pytest.mark.parametrize("case", REPRESENTATIVES, ids=str)
def test_the_checksum_is_of_the_order_and_not_of_the_number_format(case):
    model = case.make().bfloat16()
    before = order_checksum(model)
    assert order_checksum(model.float()) == before
    turn_neurons(model)
    assert order_checksum(model) != before


def test_weights_of_another_model_beside_the_dial_are_refused_in_one_line(saved, plain):
    shutil.copy(plain / "model.safetensors", saved / "model.safetensors")
    latadj.load(saved, precision=None)  # they are the same
    model, _ = latadj.load(plain, precision=None)
    turn_neurons(model)
    model.save_pretrained(saved.parent / "other")
    shutil.copy(saved.parent / "other" / "model.safetensors", saved / "model.safetensors")
    message = r"its weights \(order_checksum \w{16}\) are not those that latadj.json was saved beside \(\w{16}\)"
    with pytest.raises(ValueError, match=message):
        latadj.load(saved, precision=None)
    said = run("explain", "a good film", f"checkpoint={saved}", f"folder={saved.parent}", "device=cpu", expect=2)
    assert "copy all files from one folder" in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("how", ["save", "save_pretrained"])
def test_weights_that_were_trained_since_have_a_checksum_of_their_own(saved, tmp_path, how):
    model, tokenizer = latadj.load(saved, precision=None)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.01)
    if how == "save":
        latadj.save(model, tokenizer, tmp_path / "again")
    else:
        model.save_pretrained(tmp_path / "again")
        tokenizer.save_pretrained(tmp_path / "again")
    assert read_metadata(tmp_path / "again").order_checksum not in (None, read_metadata(saved).order_checksum)
    again, _ = latadj.load(tmp_path / "again", precision=None)
    assert dial_of(again).widths == (0.5,)


def test_a_level_alone_needs_the_order_too(plain, tmp_path):
    model, tokenizer = with_widths(plain)
    anchor = Anchor(2.0, (1.0,) * 2, level=level_of(model, [0.5] * 2))
    latadj.attach(model, replace(dial_of(model), widths=(), profile_type="searched", anchors=(anchor,)))
    latadj.save(model, tokenizer, tmp_path / "level")
    assert read_metadata(tmp_path / "level").order_checksum


def test_a_dial_over_tokens_alone_has_none(plain, tmp_path):
    model, tokenizer = with_widths(plain)
    latadj.attach(model, replace(dial_of(model), widths=()))
    latadj.save(model, tokenizer, tmp_path / "tokens")
    assert read_metadata(tmp_path / "tokens").order_checksum is None
    turn_neurons(model)
    model.save_pretrained(tmp_path / "tokens")
    latadj.load(tmp_path / "tokens", precision=None)


def test_a_file_without_a_checksum_is_read(saved):
    data = json.loads((saved / "latadj.json").read_text())
    (saved / "latadj.json").write_text(json.dumps({**data, "order_checksum": None}))
    assert dial_of(latadj.load(saved, precision=None)[0]).widths == (0.5,)
