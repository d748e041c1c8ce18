"""`latadj finetune` in two processes learns what one process learns, and only the first of them writes."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

from latadj.checkpoints.metadata import read_metadata

# Whole batches: of the last one of an epoch, several processes fill up what is missing.
STEPS = ["task.max_train=64", "device.train_precision=fp32", "model.learning_rate=1e-3", "calibration.examples=16"]
STEPS += ["plain.max_steps=4", "plain.eval_steps=4", "adjust.max_steps=4", "adjust.eval_steps=4"]
STEPS += ["adjust.full_share=null", "adjust.word_dropout_copies=0"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def together(*commands):
    """Exit codes and errors of one process for each command, which are told of each other as torchrun does it."""
    port, size = str(free_port()), str(len(commands))
    started = []
    for rank, command in enumerate(commands):
        where = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "latadj", *command],
                env={**os.environ, **where, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    ended = [process.communicate(timeout=240) for process in started]
    return [process.returncode for process in started], [out for out, _ in ended], [err for _, err in ended]


@pytest.fixture
def project(tmp_path):
    toy.write_model(tmp_path / "model", layers=2)
    config = BertConfig.from_pretrained(tmp_path / "model", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    toy.write_task(tmp_path / "data", examples=100)
    return tmp_path


def test_two_processes_learn_what_one_learns(project):
    options = ["finetune", *toy.overrides(project), *STEPS]
    codes, out, err = together(*[[*options, f"folder={project / 'two'}"]] * 2)
    assert codes == [0, 0], err
    assert err == ["", ""]
    assert "training in 2 processes" in out[0]
    assert out[1] == ""

    run(*options, f"folder={project / 'one'}")
    one, two = (json.loads((project / name / "finetune" / "finetune.json").read_text()) for name in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    for stage in ("plain", "adjustable"):
        scores, theirs = one["validation"][stage], two["validation"][stage]
        assert {**scores, "seconds": 0} == pytest.approx({**theirs, "seconds": 0})
    for name in ("plain", "checkpoint"):
        weights = [load_file(project / folder / name / "model.safetensors") for folder in ("one", "two")]
        torch.testing.assert_close(weights[1], weights[0], atol=2e-4, rtol=0)
    before = load_file(project / "model" / "model.safetensors")
    assert not torch.allclose(weights[1]["classifier.weight"], before["classifier.weight"], atol=1e-3, rtol=0)
    assert read_metadata(project / "two" / "checkpoint").dial is not None


def test_processes_with_other_options_are_refused_in_one_line(project):
    options = ["finetune", *toy.overrides(project), *STEPS]
    codes, _, err = together(options, [*options, "seed=1"])
    assert codes == [2, 2]
    assert "".join(err) == (
        "latadj finetune: seed=0 in process 0, 1 in process 1: the processes of a training need the same options; "
        "start all with the same command\n"
    )
    assert not (project / "out").exists()
