"""`latadj serve` over a folder that `latadj export` wrote."""

import re
import shutil

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from helpers.command_line import run
from helpers.served_model import Running, write_graph_clock, write_served

import latadj

TEXTS = [
    ["a good film"],
    ["the film", "is good"],
    ["the very long story about people is awful"],
    ["music"],
    ["good good good fine film"],
]


def exported(checkpoint, target, *options):
    run(
        "export",
        f"checkpoint={checkpoint}",
        f"folder={target.parent / 'x'}",
        "device=cpu",
        f"output={target}",
        *options,
    )
    return target


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint whose dial has two levels and leaves short texts whole."""
    return write_served(tmp_path_factory.mktemp("graphs"), widths=(0.75, 0.5), whole_length=4.0)


@pytest.fixture(scope="module")
def unmeasured(checkpoint):
    return exported(checkpoint, checkpoint.parent / "exported")


@pytest.fixture(scope="module")
def graphs(unmeasured):
    """The graphs, with a clock of one thread."""
    folder = shutil.copytree(unmeasured, unmeasured.parent / "measured")
    write_graph_clock(folder)
    return folder


def logits(checkpoint, speedup):
    """What PyTorch answers, one text at a time."""
    model, tokenizer = latadj.load(checkpoint, speedup=speedup, batch=8)
    with torch.inference_mode():
        return np.concatenate([model(**tokenizer(*text, return_tensors="pt")).logits.numpy() for text in TEXTS])


@pytest.mark.parametrize("speedup", [1, 2.5])
def test_graphs_answer_as_the_checkpoint_does(checkpoint, graphs, speedup):
    with Running(graphs, "policy=fixed", f"speedup={speedup}", "max_drop=null") as server:
        answer = server.post({"inputs": TEXTS, "raw_scores": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Latadj-Speedup"] == f"{speedup:.3f}"
    found = [[one["score"] for one in sorted(row, key=lambda one: one["label"])] for row in answer.json()]
    np.testing.assert_allclose(found, logits(checkpoint, speedup), atol=1e-5)


def test_graphs_are_warmed_up_and_their_dial_is_turned(graphs):
    with Running(graphs, "warm_up_s=0.5", "max_drop=null") as server:
        found = server.post({"inputs": TEXTS})
        assert float(found.headers["X-Latadj-Speedup"]) == 1
        assert server.service.served.speedups[-1] > 2
        assert not server.failures


def test_a_folder_without_a_config_is_refused(graphs, tmp_path):
    folder = shutil.copytree(graphs, tmp_path / "bare")
    (folder / "config.json").unlink()
    assert "export it again with `latadj export`" in refused(folder)


def refused(folder, *options):
    where = [f"checkpoint={folder}", f"folder={folder.parent / 'none'}", "port=0", "device.threads=1"]
    return run("serve", *where, *options, expect=2).stderr


def test_graphs_that_were_not_measured_are_pointed_at_calibrate(unmeasured):
    message = refused(unmeasured)
    assert f"run `latadj calibrate runtime=onnxruntime exported={unmeasured} device.threads=1`" in message


def test_a_graph_of_one_speedup_is_refused(checkpoint):
    folder = exported(checkpoint, checkpoint.parent / "fixed", "speedup=2")
    assert "holds a graph of one speedup, 2x, and serve turns a dial" in refused(folder)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("device.precision=int8", "device.precision=int8: the graphs of .* are fp32, whatever is asked"),
        ("device.name=cuda", "device=cuda: graphs run on the CPU"),
    ],
)
def test_what_graphs_do_not_do_is_refused(graphs, option, words):
    assert re.search(words, refused(graphs, option))
