"""latadj extract on a toy checkpoint, through the real command line."""

import json
from dataclasses import replace

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.tiny_models import dial_for, near

import latadj
from latadj.checkpoints.metadata import read_metadata
from latadj.elimination.attach import dial_of
from latadj.elimination.level_dials import with_levels

SPEEDUP = 2.5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run folder with a checkpoint whose dial has levels."""
    root = tmp_path_factory.mktemp("extract")
    model, tokenizer = latadj.load(toy.write_model(root / "model"), precision=None)
    dial = with_levels(replace(dial_for(model), profile_type="geometric", widths=(0.75, 0.5, 0.25)), [1.5, 2, 3, 4])
    latadj.save(latadj.attach(model, dial), tokenizer, root / "out" / "checkpoint")
    return root


def extract(root, *options, expect=0):
    return run("extract", f"folder={root / 'out'}", "device=cpu", *options, expect=expect)


@pytest.fixture(scope="module")
def result(root):
    extract(root, f"speedup={SPEEDUP}", "dial.target=flops")
    return json.loads((root / "out" / "extract" / "extract.json").read_text())


def test_the_folder_is_smaller_and_computes_what_the_dial_computes(root, result):
    small = root / "out" / f"extracted-{SPEEDUP}x"
    assert result["output"] == str(small)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (root / "out" / "checkpoint", small)]
    assert sizes == [result["sizes"]["full"]["bytes"], result["sizes"]["extracted"]["bytes"]]
    assert sizes[1] < 0.8 * sizes[0]
    model, tokenizer = latadj.load(root / "out" / "checkpoint", precision=None, speedup=SPEEDUP)
    again, _ = latadj.load(small, precision=None, speedup=result["reach"])
    inputs = tokenizer(["a good film", "the very long story about people is awful"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert near(list(again(**inputs).logits), list(model(**inputs).logits), atol=1e-5)
    assert read_metadata(small).notes["extracted"] == {"speedup": SPEEDUP, "target": "flops"}
    assert dial_of(again).reach() == result["reach"]


def test_info_says_of_which_speedup_a_sub_network_is(root, result):
    assert "2.5x of a larger model's dial, in flops" in run("info", result["output"]).output


def test_a_run_again_replaces_its_own_folder_and_warns_without_a_clock(root, result, caplog):
    with caplog.at_level("WARNING", "latadj"):
        extract(root, f"speedup={SPEEDUP}")
    assert "the dial is marked in FLOPs" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["speedup=9"], "speedup=9 is beyond this dial, which goes to 5"),
        (["speedup=0.5"], "speedup=0.5: expected a number >= 1"),
        (["checkpoint=nowhere"], "checkpoint nowhere: no such folder"),
        (["checkpoint={root}/model"], "has no dial: make one with `latadj calibrate checkpoint="),
        (["output={root}/out/checkpoint"], "the checkpoint itself; give the smaller model another folder"),
        (["output={root}/model"], "holds files of a model and no latadj.json"),
    ],
    ids=lambda value: value[0].partition("=")[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(root, result, options, message):
    before = sorted(root.rglob("*"))
    said = extract(root, *(option.format(root=root) for option in options), expect=2)
    assert message in said.stderr
    assert said.stderr.count("\n") == 1
    assert sorted(root.rglob("*")) == before
