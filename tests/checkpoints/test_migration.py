"""A checkpoint that version 1 of ``latadj.json`` describes still loads; ``version_1`` was written by that release."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import latadj
from latadj.checkpoints.metadata import SCHEMA, migrated, read_metadata, write_metadata
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.topk_setting import TopKAttention

OLD = Path(__file__).parent / "version_1"
TEXTS = ["the film is very good", "a long story about awful music and people"]
LOGITS = [[-0.008594108745455742, 0.030872555449604988], [-0.008663207292556763, 0.030923184007406235]]


def test_an_old_folder_computes_what_it_did():
    model, tokenizer = latadj.load(OLD, speedup=2)
    with torch.no_grad():
        found = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    torch.testing.assert_close(found, torch.tensor(LOGITS), atol=1e-5, rtol=0)


def test_an_old_folder_keeps_all_that_was_noted():
    found = read_metadata(OLD)
    assert (found.task, found.task_spec.type, found.task_spec.labels) == (
        "sst2",
        "classification",
        ["negative", "positive"],
    )
    assert (found.dial.profile_type, found.dial.anchors[0].keep) == ("searched", (0.7, 0.5, 0.3))
    assert found.topk_attention == TopKAttention((None, 0.75, None))
    assert [layer.is_whole for layer in found.pruning.layers] == [False, True, False]
    (device,) = found.devices.values()
    assert device.serving["fp32"].models[0].lengths == (6, 24)


def test_the_window_of_an_old_decoder_is_kept(tmp_path):
    shutil.copy(OLD / "latadj-decoder.json", tmp_path / "latadj.json")
    found = read_metadata(tmp_path)
    assert found.dial.window == ObservationWindow(16, 4, 0.5, 13)
    assert (found.dial.profile_type, found.task_spec.type) == ("flat", "generation")


@pytest.mark.parametrize("name", ["latadj.json", "latadj-decoder.json"])
def test_what_is_written_again_is_of_the_new_schema(tmp_path, name):
    shutil.copy(OLD / name, tmp_path / "latadj.json")
    found = read_metadata(tmp_path)
    write_metadata(tmp_path, found)
    data = json.loads((tmp_path / "latadj.json").read_text())
    assert data["schema"] == SCHEMA
    assert migrated(data) is data
    assert read_metadata(tmp_path) == found
