"""Levels that cannot be: one line on stderr, exit code 2."""

import json

import pytest
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.tiny_models import dial_for

import latadj
from latadj.elimination.attach import dial_of
from latadj.elimination.level_dials import with_levels
from latadj.pruning import PruningUnit, remove


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of two layers of 4 heads and 64 neurons, whose dial has two levels."""
    root = tmp_path_factory.mktemp("levels")
    model, tokenizer = latadj.load(toy.write_model(root / "model", layers=2), precision=None)
    dial = with_levels(dial_for(model, profile_type="geometric", widths=(0.75, 0.5)), [1.3, 2])
    latadj.save(latadj.attach(model, dial), tokenizer, root / "checkpoint")
    return root / "checkpoint"


def wider(dial):
    for shape in dial["shapes"]:
        shape |= {"heads": 8, "neurons": 128}
    dial["anchors"][0]["level"] = {"heads": [8, 8], "neurons": [128, 128]}


def beyond(dial):
    dial["anchors"][0]["level"] = {"heads": [4, 5], "neurons": [64, 64]}


def not_nested(dial):
    dial["anchors"][1]["level"] = {"heads": [4, 4], "neurons": [64, 64]}


def other_layers(dial):
    dial["anchors"][0]["level"] = {"heads": [4], "neurons": [64]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wider, "a level of 8 heads and 128 neurons, in a layer of 4 and 64"),
        (beyond, "a level of 5 heads and 64 neurons, in a layer of 4 and 64"),
        (not_nested, "is not contained in that of a smaller speedup: levels must be nested"),
        (other_layers, "a level of 1 layers beside 2 keep ratios"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_whose_levels_cannot_be_is_refused_in_one_line(folder, tmp_path, change, message):
    path = folder / "latadj.json"
    before = path.read_text()
    data = json.loads(before)
    change(data["dial"])
    path.write_text(json.dumps(data))
    options = [f"checkpoint={folder}", f"folder={tmp_path}", "device=cpu"]
    said = run("explain", "a good film", *options, "speedup=1.1", "dial.target=flops", expect=2)
    path.write_text(before)
    assert message in said.stderr
    assert str(folder) in said.stderr
    assert said.stderr.count("\n") == 1


def test_a_dial_of_a_wider_model_is_not_attached(folder):
    model, _ = latadj.load(folder, precision=None)
    other, _ = latadj.load(folder.parent / "model", precision=None)
    remove(other, [PruningUnit("head", 1, head) for head in (1, 2, 3)])
    with pytest.raises(ValueError, match="in a layer of 1 and 64"):
        latadj.attach(other, dial_of(model))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("adjust.axes=[]", "adjust.axes=[]: expected"),
        ("adjust.axes=[depth]", "expected some of tokens, width"),
        ("adjust.axes=[width] adjust.widths=[]", "widths=[]: expected at least one share"),
        ("adjust.axes=[width] adjust.widths=[1.5]", "widths=[1.5]: expected"),
    ],
)
def test_axes_and_widths_that_cannot_be_trained_are_refused_in_one_line(tmp_path, override, message):
    toy.write_model(tmp_path / "model", layers=1)
    toy.write_task(tmp_path / "data", 16)
    said = run("finetune", *toy.overrides(tmp_path), *override.split(), expect=2)
    assert message in said.stderr
    assert said.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
