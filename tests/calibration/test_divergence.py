"""What a search minimises: how far outputs are from the full model's."""

import numpy as np
import pytest
from helpers import toy_project as toy
from helpers.narrowed_reference import level_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from latadj.calibration.calibration_set import ClassificationSet
from latadj.calibration.make_dial import Divergence, make_dial, measure_contribution
from latadj.config import CalibrationConfig
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.tasks.outputs.predict import predict

LENGTHS = (3, 5, 8, 9, 14, 20, 22)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = toy.write_model(tmp_path_factory.mktemp("divergence") / "model")
    model = attach(AutoModelForSequenceClassification.from_pretrained(folder).eval())
    rng = np.random.default_rng(0)
    rows = [{"input_ids": rng.integers(1, model.config.vocab_size, length).tolist()} for length in LENGTHS]
    examples = ClassificationSet(rows=rows, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=4)
    dial = make_dial(model, measure_contribution(model, examples), CalibrationConfig())
    return model, examples, dial


@pytest.mark.parametrize("whole_length", [0.0, 8.0, 100.0])
def test_texts_that_use_the_whole_model_count_without_being_run(compared, whole_length, monkeypatch):
    model, examples, dial = compared
    full, level = Profile.full(dial.layers), level_of(model, [0.5] * dial.layers)
    profile = Profile((0.6,) * dial.layers, level=level, whole_length=whole_length)
    with at_profile(model, full):
        at_1x = examples.outputs(model)
    with at_profile(model, profile):
        expected = examples.divergence(at_1x, examples.outputs(model))
    divergence, run = Divergence(model, examples, dial), []

    def counted(model, tokenizer, rows, **options):
        run.append(len(rows))
        return predict(model, tokenizer, rows, **options)

    monkeypatch.setattr("latadj.calibration.calibration_set.predict", counted)
    assert divergence(profile) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    before = len(run)
    assert divergence(profile) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    longer = sum(length > whole_length for length in LENGTHS)
    assert run[before:] == ([longer] if longer else [])  # the full model's outputs are known by now
    assert (expected > 0) == (longer > 0)
