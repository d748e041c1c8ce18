import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.tiny_language_models import DECODERS, LANGUAGE_MODELS, rows_of_lengths

from latadj.tasks.outputs.likelihood import continuation_logits, likelihoods

RAGGED = rows_of_lengths([9, 4, 12, 9, 1], [5, 1, 3, 6, 2])


@torch.no_grad()
def in_one_forward(model, row):
    """The continuation's log-likelihoods out of one plain forward over prompt and continuation."""
    prompt, continuation = row["input_ids"], row["continuation"]
    if model.config.is_encoder_decoder:
        output = model(input_ids=torch.tensor([prompt]), labels=torch.tensor([continuation]))
        foreseen = output.logits[0]
    else:
        output = model(input_ids=torch.tensor([prompt + continuation]))
        foreseen = output.logits[0, len(prompt) - 1 : -1]
    return foreseen.log_softmax(-1)[torch.arange(len(continuation)), torch.tensor(continuation)]


@pytest.fixture(params=LANGUAGE_MODELS)
def model(request):
    return LANGUAGE_MODELS[request.param]()


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_likelihoods_are_those_of_one_forward_whatever_the_batches(model, batch_size):
    found = likelihoods(model, RAGGED, batch_size=batch_size)
    expected = [-float(in_one_forward(model, row).sum()) for row in RAGGED]
    assert found.nll == pytest.approx(expected, abs=2e-3)
    assert found.tokens.tolist() == [5, 1, 3, 6, 2]
    assert np.ptp(found.nll / found.tokens) > 0.1  # the rows differ, so their order is checked too


def test_logits_come_one_example_at_a_time_and_cover_its_continuation(model):
    found = dict(continuation_logits(model, RAGGED, batch_size=2))
    assert sorted(found) == list(range(len(RAGGED)))
    for place, row in enumerate(RAGGED):
        assert found[place].shape == (len(row["continuation"]), model.config.vocab_size)
        ours = found[place].log_softmax(-1)[torch.arange(len(row["continuation"])), torch.tensor(row["continuation"])]
        assert torch.allclose(ours, in_one_forward(model, row), atol=1e-3)


def test_a_data_set_is_scored_as_its_rows_are():
    model = DECODERS["llama"]()
    rows = rows_of_lengths([6, 6], [3, 3])
    encoded = Dataset.from_list([{**row, "document": 0, "length": 6} for row in rows])
    assert likelihoods(model, encoded).nll.tolist() == likelihoods(model, rows).nll.tolist()


def test_dropout_is_off_while_scoring_and_the_mode_stays():
    model = DECODERS["gpt2"]()
    quiet = likelihoods(model, RAGGED).nll
    model.train()
    iterator = continuation_logits(model, RAGGED, batch_size=2)
    next(iterator)
    assert model.training
    assert not torch.is_inference_mode_enabled()
    assert likelihoods(model, RAGGED).nll.tolist() == quiet.tolist()


@pytest.mark.parametrize("column", ["input_ids", "continuation"])
def test_an_empty_part_is_refused(column):
    rows = [*rows_of_lengths([3], [3]), {"input_ids": [1], "continuation": [1], column: []}]
    name = "prompt" if column == "input_ids" else column
    with pytest.raises(ValueError, match=f"example 1 has an empty {name}"):
        likelihoods(DECODERS["llama"](), rows)
