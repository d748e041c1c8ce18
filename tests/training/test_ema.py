"""The running mean of weights, which training judges and keeps."""

from types import SimpleNamespace

import pytest
import torch
from helpers.short_training import trained
from safetensors.torch import load_file
from torch import nn

from latadj.training.callbacks import EMA_FILE, EVERY, EMACallback


def model_at(value):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def after(ema, steps, start=0):
    for step in range(start + 1, start + steps + 1):
        ema.on_step_end(None, SimpleNamespace(global_step=step), None)


def test_earlier_weights_count_for_less_and_less():
    model = model_at(0.0)
    ema = EMACallback(model, 0.9)
    nn.init.constant_(model.weight, 1.0)
    after(ema, 100 * EVERY)
    assert ema.average["weight"].item() == pytest.approx(1.0)
    nn.init.constant_(model.weight, 2.0)
    after(ema, EVERY)
    assert ema.average["weight"].item() == pytest.approx(2.0 - 0.9**EVERY)


def test_early_means_are_short():
    model = model_at(0.0)
    ema = EMACallback(model, 0.999)
    nn.init.constant_(model.weight, 1.0)
    after(ema, EVERY)
    assert ema.average["weight"].item() == pytest.approx(1 - 2 / 11)


def test_the_weights_themselves_come_back_after_validation():
    model = model_at(1.0)
    ema = EMACallback(model, 0.9)
    nn.init.constant_(model.weight, 3.0)
    after(ema, EVERY)
    with ema.applied():
        assert model.weight.item() == pytest.approx(1 + 2 * 9 / 11)
    assert model.weight.item() == 3.0


def test_before_the_first_update_the_weights_stand_for_their_mean():
    model = model_at(1.0)
    ema = EMACallback(model, 0.9)
    nn.init.constant_(model.weight, 3.0)
    after(ema, EVERY - 1)
    with ema.applied():
        assert model.weight.item() == 3.0
    ema.copy_to_model()
    assert model.weight.item() == 3.0


def test_what_is_frozen_has_no_mean():
    model = model_at(1.0)
    model.weight.requires_grad_(False)
    assert EMACallback(model, 0.9).average == {}


def test_a_saved_mean_is_gone_on_with(tmp_path):
    model = model_at(0.0)
    ours = EMACallback(model, 0.9)
    nn.init.constant_(model.weight, 1.0)
    after(ours, 5 * EVERY)
    ours.on_save(
        SimpleNamespace(output_dir=tmp_path), SimpleNamespace(global_step=20, is_world_process_zero=True), None
    )
    theirs = EMACallback(model, 0.9)
    theirs.load(tmp_path / "checkpoint-20")
    nn.init.constant_(model.weight, 2.0)
    for ema in (ours, theirs):
        after(ema, EVERY, start=20)
    assert theirs.average["weight"].item() == ours.average["weight"].item() != 0


def test_training_validates_and_keeps_the_mean(tmp_path, model):
    judged = []

    def score(model):
        judged.append(model.classifier.weight.detach().clone())
        return float(len(judged))  # the last is the best

    trained(model, tmp_path, score, epochs=2)
    saved = tmp_path / "checkpoint-32"
    kept = model.classifier.weight
    assert torch.equal(kept, judged[-1])
    assert torch.equal(kept, load_file(saved / EMA_FILE)["classifier.weight"])
    assert not torch.equal(kept, load_file(saved / "model.safetensors")["classifier.weight"])


def test_a_training_too_short_for_a_mean_keeps_what_it_validated(tmp_path, model):
    judged = []

    def score(model):
        judged.append(model.classifier.weight.detach().clone())
        return [0.1, 0.3, 0.2][len(judged) - 1]  # the second is the best

    before = model.classifier.weight.detach().clone()
    trained(model, tmp_path, score, max_steps=3, eval_steps=1)
    assert len(judged) == 3
    assert torch.equal(model.classifier.weight, judged[1])
    assert not torch.equal(model.classifier.weight, before)
