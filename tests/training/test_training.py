import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run

from latadj.checkpoints.metadata import read_metadata
from latadj.config import AdjustConfig
from latadj.elimination.attach import attach
from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.tasks.encoding.batches import TEACHER
from latadj.tasks.outputs.logits import Outputs
from latadj.training.head_objective import AdjustableLoss

SHAPE = LayerShape(32 * 32, 2 * 32 * 32, 32 * 32, 2 * 32 * 64, 32)


def test_a_killed_process_is_gone_on_with(tmp_path):
    toy.write_model(tmp_path / "model", layers=2)
    toy.write_task(tmp_path / "data", examples=64)
    # Steps enough to be killed in, and few enough to be finished afterwards.
    steps = ["plain.epochs=1", "adjust.max_steps=48", "adjust.epochs=99", "adjust.eval_steps=4", "adjust.patience=99"]
    settings = [*toy.overrides(tmp_path), *steps]
    command = [sys.executable, "-m", "latadj", "finetune", *settings]
    killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    work = tmp_path / "out" / "finetune" / "adjustable"
    deadline = time.monotonic() + 100
    while len(list(work.glob("checkpoint-*/ema.safetensors"))) < 1:
        assert killed.poll() is None and time.monotonic() < deadline, killed.communicate()[0]
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "out" / "checkpoint").exists()

    anew = run("finetune", *settings, expect=2)
    assert "(plain is done, adjustable has begun): resume=true goes on with it, overwrite=true" in anew.stderr
    assert list(work.glob("checkpoint-*"))

    log = tmp_path / "out" / "finetune" / "finetune.log"
    before = log.read_text()
    run("finetune", "resume=true", *settings)
    said = log.read_text().removeprefix(before)
    assert "adjustable fine-tuning: going on from" in said
    assert "plain fine-tuning:" not in said
    assert (tmp_path / "out" / "checkpoint" / "latadj.json").is_file()

    other = run("finetune", "resume=true", *settings, "seed=1", expect=2)
    assert "was started with other settings (seed)" in other.stderr
    run("finetune", "overwrite=true", *settings, "adjust.max_steps=1")


def test_a_plain_run_goes_on_with_the_adjustable_stage_however_that_is_set(tmp_path):
    toy.write_model(tmp_path / "model")
    toy.write_task(tmp_path / "data", examples=64)
    options = [*toy.overrides(tmp_path), "resume=true", "plain.epochs=1"]
    run("finetune", *options, "adjustable=false")
    plain = (tmp_path / "out" / "plain" / "model.safetensors").read_bytes()
    run("calibrate", *toy.overrides(tmp_path), "search.trials=0", "clock.rounds=0")
    calibrated = (tmp_path / "out" / "checkpoint" / "latadj.json").read_bytes()
    run("finetune", *options, "adjustable=false")
    assert (tmp_path / "out" / "checkpoint" / "latadj.json").read_bytes() == calibrated, "its dial stays"
    assert "other settings (plain)" in run("finetune", *options, "plain.max_steps=1", expect=2).stderr
    cut = ["adjust.epochs=1", "adjust.max_speedup=3"]
    run("finetune", *options, *cut)
    assert (tmp_path / "out" / "plain" / "model.safetensors").read_bytes() == plain
    assert (tmp_path / "out" / "checkpoint" / "model.safetensors").read_bytes() != plain
    for other, changed in (("adjust.epochs=2", "adjust"), ("adjustable=false", "adjustable")):
        result = run("finetune", *options, *cut, other, expect=2)
        assert f"was started with other settings ({changed})" in result.stderr


def test_a_run_does_not_go_on_with_other_examples(tmp_path):
    toy.write_model(tmp_path / "model", layers=1)
    data = toy.write_task(tmp_path / "data", examples=64) / "train.tsv"
    options = [*toy.overrides(tmp_path), "resume=true", "plain.max_steps=1", "adjustable=false"]
    run("finetune", *options)
    data.write_text(data.read_text().replace("\t1\n", "\t0\n", 1))
    assert "was started with other settings (data)" in run("finetune", *options, expect=2).stderr


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_model_names_the_fine_tuning_that_it_comes_from(tmp_path, epochs):
    toy.write_model(tmp_path / "model", layers=1)
    toy.write_task(tmp_path / "data", examples=64)
    options = [*toy.overrides(tmp_path), "adjust.epochs=1"]
    run("finetune", *options, "plain.epochs=1", "adjustable=false")
    first, again = tmp_path / "out" / "plain", tmp_path / "again"
    run("finetune", *options, f"model.path={first}", f"folder={again}", f"plain.epochs={epochs}")
    same = read_metadata(again / "checkpoint").origin == read_metadata(first).origin
    assert same == (epochs == 0)


@pytest.fixture
def loss():
    dial = Dial(layer_acc=(0.8,) * 4, lengths=(5, 9), shapes=(SHAPE,) * 4)
    return AdjustableLoss(dial, AdjustConfig(max_speedup=3.0))


def test_the_loss_is_that_of_the_full_and_of_a_cut_model(loss, model):
    attach(model)
    batch = {"input_ids": torch.randint(1, 100, (4, 9)), "labels": torch.tensor([0, 1, 2, 0])}
    with torch.no_grad():
        wanted = model(input_ids=batch["input_ids"]).logits
        full = torch.nn.functional.cross_entropy(wanted, batch["labels"])
        total = loss(model, {**batch, TEACHER: wanted})
    assert total > full  # the full model is its own teacher here, so what is above comes from the cut one


def test_drawn_profiles_stay_inside_the_range(loss):
    drawn = {loss.draw() for _ in range(200)}
    speedups = [loss.dials[0].speedup_of(profile) for profile in drawn]
    assert len(drawn) > 10
    assert max(speedups) < 3.6  # two short lengths come in whole tokens
    assert min(speedups) >= 1.1


def test_a_regression_is_trained_on_squared_errors():
    found = torch.tensor([[2.0], [4.0]])
    assert Outputs().loss(found, {"labels": torch.tensor([1.0, 4.0])}) == 0.5
    assert Outputs().divergence(found, torch.tensor([[2.0], [7.0]])) == 4.5


def test_the_state_of_a_finished_run_names_its_stages(tmp_path):
    toy.write_model(tmp_path / "model")
    toy.write_task(tmp_path / "data", examples=64)
    run("finetune", *toy.overrides(tmp_path), "plain.epochs=1", "adjust.epochs=1", "calibration.examples=16")
    assert "validation accuracy_1x" in (tmp_path / "out" / "finetune" / "finetune.log").read_text()
    state = json.loads((tmp_path / "out" / "finetune" / "state.json").read_text())
    assert set(state["stages"]) == {"plain", "adjustable"}
