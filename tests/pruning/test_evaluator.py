"""What a model is worth on texts that many models are asked in turn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tagging_data as tagging
from helpers import toy_project as toy
from torch.nn import functional

from latadj.commands.finetune import prepare
from latadj.config.compose import compose, typed
from latadj.elimination.architectures import layers_of
from latadj.elimination.attach import attach
from latadj.pruning import PruningUnit, without
from latadj.pruning.evaluator import BROKEN, PruningEvaluator


@pytest.fixture
def session(session):
    """The toy project, its model attached as it is where it is pruned."""
    attach(session.model)
    return session


@pytest.fixture(params=[toy, tagging], ids=["classifier", "tagger"])
def deep(tmp_path, request):
    """The same of several layers, for two kinds of task."""
    project = request.param
    project.write_model(tmp_path / "model", layers=3)
    project.write_task(tmp_path / "data", 64)
    found = prepare(typed("finetune", compose("finetune", project.overrides(tmp_path))))
    attach(found.model)
    return found


def evaluator_of(session, kind=None, **more):
    part = session.splits.validation
    encoded = session.encoded(part)
    options = {"outputs": session.outputs, "device": session.device, "batch_size": 4}
    return PruningEvaluator(kind or session.task_type, session.tokenizer, part, encoded, **options, **more)


def runs_of_the_lowest_layer(model):
    """Grows each time that it computes anything."""
    ran = []
    layers_of(model)[0].intermediate.register_forward_hook(lambda *_: ran.append(1))
    return ran


def test_losses_are_those_of_each_row_alone_at_the_scale_that_suits_them_best(session):
    scored = evaluator_of(session).evaluate(session.model)
    rows = session.encoded(session.splits.validation)
    with torch.no_grad():
        said = torch.cat([session.model(input_ids=torch.tensor([ids])).logits for ids in rows["input_ids"]])
    labels = torch.tensor(rows["labels"])
    scales = torch.linspace(-3, 3, 601).exp()
    losses = [functional.cross_entropy(said * scale, labels, reduction="none") for scale in scales]
    best = min(losses, key=lambda each: float(each.mean()))
    assert scored.losses == pytest.approx(best.numpy(), abs=0.01)
    assert scored.loss == pytest.approx(float(best.mean()), abs=1e-4)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_model_that_answers_no_number_is_the_worst_of_all(session, broken):
    evaluator = evaluator_of(session)
    whole = evaluator.evaluate(session.model).loss
    session.model.classifier.bias.data.fill_(broken)
    assert evaluator.evaluate(session.model).loss == evaluator.loss(session.model) == BROKEN > whole


def test_how_sure_a_model_is_of_the_same_answers_costs_it_nothing(session):
    evaluator = evaluator_of(session)
    with torch.no_grad():
        session.model.classifier.weight.mul_(3)
        session.model.classifier.bias.mul_(3)
        before = evaluator.evaluate(session.model)
        session.model.classifier.weight.mul_(0.5)
        session.model.classifier.bias.mul_(0.5)
    after = evaluator.evaluate(session.model)
    assert after.losses == pytest.approx(before.losses, abs=1e-3)
    assert (after.predictions == before.predictions).all()
    assert evaluator.loss(session.model) == pytest.approx(before.loss, abs=1e-4)


@pytest.mark.parametrize("tunes", [False, True])
def test_only_an_evaluator_that_may_tunes_a_threshold(session, tunes):
    chosen, whole = [], session.task_type
    open_kind = SimpleNamespace(
        tunes_threshold=True, tune_threshold=lambda *_: chosen.append(1), predictions=whole.predictions
    )
    evaluator_of(session, open_kind, tunes_threshold=tunes).evaluate(session.model)
    assert bool(chosen) == tunes


@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_an_evaluator_that_is_told_which_layer_changed_says_the_same_and_runs_no_layer_below(deep, autocast):
    evaluator, model, ran = evaluator_of(deep, autocast=autocast), deep.model, runs_of_the_lowest_layer(deep.model)
    for part in (
        PruningUnit("attention", 1),
        PruningUnit("feed_forward", 1),
        PruningUnit("attention", 2),
        PruningUnit("feed_forward", 0),
    ):
        with without(model, [part]):
            whole = evaluator_of(deep, autocast=autocast).evaluate(model)
            evaluator.evaluate(model, changed=part.layer)
            ran.clear()
            again = evaluator.evaluate(model, changed=part.layer)
        assert (again.losses == whole.losses).all()
        assert all(np.array_equal(*pair) for pair in zip(again.predictions, whole.predictions, strict=True))
        assert bool(ran) == (part.layer == 0)


@pytest.mark.parametrize("layer", [None, 0])
def test_what_an_evaluator_keeps_goes_when_what_it_came_from_has_changed(deep, layer):
    evaluator, model = evaluator_of(deep), deep.model
    before = evaluator.evaluate(model, changed=2)
    with torch.no_grad():
        layers_of(model)[0].output.dense.weight.mul_(-1)
    evaluator.drop_cache(layer)
    after = evaluator.evaluate(model, changed=2)
    assert (after.losses == evaluator_of(deep).evaluate(model).losses).all()
    assert (after.losses != before.losses).any()


def test_an_evaluator_keeps_no_more_than_it_may(deep, monkeypatch):
    monkeypatch.setattr("latadj.pruning.evaluator.CACHE_BYTES", 1)
    evaluator, ran = evaluator_of(deep), runs_of_the_lowest_layer(deep.model)
    evaluator.evaluate(deep.model, changed=2)
    batches = len(ran)
    evaluator.evaluate(deep.model, changed=2)
    assert batches > 1
    assert len(ran) == batches + batches - 1
