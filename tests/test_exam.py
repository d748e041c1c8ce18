"""What a model is worth on texts that many models are asked in turn."""

import pytest
import torch
from torch.nn import functional

from latadj.exam import BROKEN, Exam


def exam_of(session):
    part = session.splits.validation
    encoded = session.encoded(part)
    options = {"outputs": session.outputs, "device": session.device, "batch_size": 4}
    return Exam(session.kind, session.tokenizer, part, encoded, **options)


def test_losses_are_those_of_each_row_alone_at_the_scale_that_suits_them_best(session):
    answers = exam_of(session).sit(session.model)
    rows = session.encoded(session.splits.validation)
    with torch.no_grad():
        said = torch.cat([session.model(input_ids=torch.tensor([ids])).logits for ids in rows["input_ids"]])
    labels = torch.tensor(rows["labels"])
    scales = torch.linspace(-3, 3, 601).exp()
    losses = [functional.cross_entropy(said * scale, labels, reduction="none") for scale in scales]
    best = min(losses, key=lambda each: float(each.mean()))
    assert answers.losses == pytest.approx(best.numpy(), abs=0.01)
    assert answers.loss == pytest.approx(float(best.mean()), abs=1e-4)


def test_a_model_that_answers_no_number_is_the_worst_of_all(session):
    exam = exam_of(session)
    whole = exam.sit(session.model).loss
    session.model.classifier.weight.data.fill_(float("nan"))
    assert exam.sit(session.model).loss == exam.loss(session.model) == BROKEN > whole


def test_how_sure_a_model_is_of_the_same_answers_costs_it_nothing(session):
    exam = exam_of(session)
    with torch.no_grad():
        session.model.classifier.weight.mul_(3)
        session.model.classifier.bias.mul_(3)
        before = exam.sit(session.model)
        session.model.classifier.weight.mul_(0.5)
        session.model.classifier.bias.mul_(0.5)
    after = exam.sit(session.model)
    assert after.losses == pytest.approx(before.losses, abs=1e-3)
    assert (after.predictions == before.predictions).all()
    assert exam.loss(session.model) == pytest.approx(before.loss, abs=1e-4)
