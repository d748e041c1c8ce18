"""latadj calibrate measures what is lost along the dial, on validation text alone, through the real command line."""

import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from latadj.checkpoints.metadata import read_metadata
from latadj.commands.common.validation_drops import WIDEST, profiles_along
from latadj.config.compose import compose, typed
from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.profiles import Profile
from latadj.tasks.types import task_type_of

QUICK = ["search.trials=0", "calibration.examples=16", "clock.rounds=0"]


def write_classifier(folder, source, seed):
    """A random classifier whose answers differ from text to text."""
    torch.manual_seed(seed)
    shape = AutoConfig.from_pretrained(source, initializer_range=0.3)
    AutoModelForSequenceClassification.from_config(shape).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("drops")
    toy.write_model(root / "model")
    toy.write_task(root / "data", examples=480)
    for seed in (1, 2):
        write_classifier(root / str(seed), root / "model", seed)
    return root


def calibrated(root, *options, checkpoint="1", plain="2"):
    for name, source in (("checkpoint", checkpoint), ("plain", plain)):
        shutil.rmtree(root / "out" / name, ignore_errors=True)
        if source is not None:
            shutil.copytree(root / source, root / "out" / name)
    output = run("calibrate", *toy.overrides(root), *QUICK, *options).output
    return read_metadata(root / "out" / "checkpoint"), output


def accuracy(root, name):
    """Of a model as plain transformers runs it, on the validation split."""
    config = typed("calibrate", compose("calibrate", toy.overrides(root)))
    examples = task_type_of(config.task).load().validation
    model, tokenizer = (
        kind.from_pretrained(root / name) for kind in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    with torch.no_grad():
        logits = model.eval()(**tokenizer(list(examples["sentence"]), padding=True, return_tensors="pt")).logits
    return float((logits.argmax(-1).numpy() == np.array(examples["label"])).mean())


@pytest.mark.parametrize("plain_is_better", [False, True])
def test_drops_count_from_the_better_of_the_two_full_models(root, plain_is_better):
    worse, better = sorted("12", key=lambda name: accuracy(root, name))
    names = {"checkpoint": worse, "plain": better} if plain_is_better else {"checkpoint": better, "plain": worse}
    dial = calibrated(root, **names)[0].dial
    gap = accuracy(root, better) - accuracy(root, worse)
    assert gap > 0
    assert dial.drops[0].profile == Profile.full(4)
    assert dial.drops[0].drop == pytest.approx(gap if plain_is_better else 0.0)
    for measured in dial.drops:
        assert measured.low <= measured.drop <= measured.high
    assert any(measured.low < measured.high for measured in dial.drops)
    if plain_is_better:
        with pytest.raises(ValueError, match="at 1x this dial loses"):
            dial.within(0.0)


def test_without_a_plain_model_they_count_from_the_checkpoint_and_no_test_text_is_read(root):
    dial = calibrated(root, plain=None)[0].dial
    assert dial.drops[0].drop == 0
    tests = root / "data" / "dev.tsv"
    before = tests.read_text()
    tests.write_text("sentence\tlabel\nthe good film\t0\nthe bad film\t1\n")
    try:
        assert calibrated(root, plain=None)[0].dial.drops == dial.drops
    finally:
        tests.write_text(before)


def test_the_number_of_validation_examples_is_an_option_and_noted(root):
    found, output = calibrated(root, "calibration.validation_examples=10")
    assert found.notes["calibration"]["validation_examples"] == 10
    assert all((10 * measured.drop) == pytest.approx(round(10 * measured.drop)) for measured in found.dial.drops)
    assert "95%" in output
    without, output = calibrated(root, "calibration.validation_examples=0")
    assert without.dial.drops == ()
    assert "95%" not in output


def test_measuring_a_device_keeps_the_drops(root):
    drops = calibrated(root)[0].dial.drops
    run("calibrate", *toy.overrides(root), "calibration.device_only=true", "clock.rounds=2", "clock.budget_s=1")
    assert read_metadata(root / "out" / "checkpoint").dial.drops == drops != ()


def test_profiles_are_closer_where_a_step_of_time_cuts_many_flops():
    shape = LayerShape(1024, 2048, 1024, 4096, 32)
    line, none = Ramp(0.0, (1.0, 64.0), (0.063,)), Ramp(0.0, (1.0, 64.0), (0.0,))
    fixed = LatencyModel(8, line, none, line, none, Ramp(1.0, (1.0, 64.0), (0.0,)))
    dial = Dial((0.9, 0.8, 0.7, 0.6), tuple(range(20, 60)), (shape,) * 4).on(fixed)
    assert dial.reach() < 1.5
    flops = [dial.speedup_of(profile) for profile in profiles_along(dial, [1.0, 1.5, 2.0])]
    assert flops[-1] == pytest.approx(dial.speedup_of(dial.profile(dial.reach())))
    assert flops[-1] > 3
    assert max(after / before for before, after in pairwise(flops)) <= WIDEST
