"""What a model is worth on texts that many models are asked in turn."""

import pytest
import torch
import toy

from latadj.commands.finetune import prepare
from latadj.exam import BROKEN, Exam
from latadj.launch import compose, typed


@pytest.fixture
def session(tmp_path):
    toy.write_model(tmp_path / "model", layers=1)
    toy.write_task(tmp_path / "data", 64)
    return prepare(typed("finetune", compose("finetune", toy.overrides(tmp_path))))


def exam_of(session):
    part = session.splits.validation
    encoded = session.encoded(part)
    options = {"outputs": session.outputs, "device": session.device, "batch_size": 4}
    return Exam(session.kind, session.tokenizer, part, encoded, **options)


def test_losses_are_those_of_each_row_alone(session):
    answers = exam_of(session).sit(session.model)
    rows = session.encoded(session.splits.validation)
    for row, found in zip(rows, answers.losses, strict=True):
        inputs = {"input_ids": torch.tensor([row["input_ids"]]), "labels": torch.tensor([row["labels"]])}
        with torch.no_grad():
            assert found == pytest.approx(float(session.model(**inputs).loss), abs=1e-5)


def test_a_model_that_answers_no_number_is_the_worst_of_all(session):
    exam = exam_of(session)
    whole = exam.sit(session.model).loss
    session.model.classifier.weight.data.fill_(float("nan"))
    assert exam.sit(session.model).loss == exam.loss(session.model) == BROKEN > whole
