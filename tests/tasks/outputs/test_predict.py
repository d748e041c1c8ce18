"""No answer is made of what is no number."""

import pytest
import torch
from conftest import tiny_bert
from helpers.tiny_language_models import rows_of_lengths, tiny_llama, tiny_tokenizer

from latadj.calibration.calibration_set import ContinuationSet
from latadj.tasks.outputs.likelihood import likelihoods
from latadj.tasks.outputs.predict import predict

ROWS = [{"input_ids": [5, 6, 7]}, {"input_ids": [5, 8]}]


def test_a_classifier_that_answers_nan_is_refused():
    model = tiny_bert()
    model.get_input_embeddings().weight.data[8] = torch.nan
    assert predict(model, tiny_tokenizer(), ROWS[:1]).shape[0] == 1
    with pytest.raises(ValueError, match="the model answers NaN"):
        predict(model, tiny_tokenizer(), ROWS)


def test_a_classifier_that_answers_infinity_is_refused():
    model = tiny_bert()
    model.classifier.bias.data[0] = torch.inf
    with pytest.raises(ValueError, match="the model answers NaN or infinity"):
        predict(model, tiny_tokenizer(), ROWS)


def test_a_language_model_that_answers_nan_is_refused():
    model = tiny_llama().eval()
    rows = rows_of_lengths([4], [2])
    model.get_input_embeddings().weight.data[rows[0]["input_ids"][0]] = torch.nan
    with pytest.raises(ValueError, match="the model answers NaN"):
        likelihoods(model, rows)
    with pytest.raises(ValueError, match="the model answers NaN"):
        ContinuationSet(rows=rows, batch_size=1).outputs(model)
