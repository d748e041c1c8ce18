import numpy as np
import pytest
import torch
from helpers import word_tokenizer as words
from torch.nn import functional

from latadj.tasks.encoding.batches import IGNORED, pad
from latadj.tasks.outputs.logits import LabelWords, Outputs, TokenOutputs
from latadj.tasks.outputs.predict import predict

LABELS = [[11], [12, 13, 14], [12, 20]]
RAGGED = [7, 3, 12, 5]


def prompts(lengths=RAGGED):
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(2, 300, (length,), generator=generator).tolist() for length in lengths]
    return [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids]


def by_plain_forward(model, row, label):
    """Mean log-likelihood of the label's tokens by one forward pass over everything, without cache or padding."""
    if model.config.is_encoder_decoder:
        written = torch.tensor([[model.config.decoder_start_token_id, *label[:-1]]])
        logits = model(input_ids=torch.tensor([row["input_ids"]]), decoder_input_ids=written).logits[0]
    else:
        logits = model(torch.tensor([[*row["input_ids"], *label[:-1]]])).logits[0, -len(label) :]
    return logits.log_softmax(-1)[torch.arange(len(label)), torch.tensor(label)].mean()


def table(model, rows, labels=LABELS):
    return torch.stack([torch.stack([by_plain_forward(model, row, label) for label in labels]) for row in rows])


@pytest.fixture(params=words.LANGUAGE_MODELS)
def model(request):
    return words.LANGUAGE_MODELS[request.param]()


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_those_of_a_plain_forward_over_prompt_and_label(model, side):
    rows = prompts()
    tokenizer = words.tokenizer(padding_side=side)
    found = predict(model, tokenizer, rows, outputs=LabelWords(LABELS))
    expected = table(model, rows).detach().numpy()
    assert found.shape == (4, 3)
    assert found.dtype == np.float32
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_a_row_alone_equals_the_row_in_a_ragged_batch(model):
    rows, tokenizer, outputs = prompts(), words.tokenizer(), LabelWords(LABELS)
    together = predict(model, tokenizer, rows, outputs=outputs)
    alone = predict(model, tokenizer, rows, outputs=outputs, batch_size=1)
    np.testing.assert_allclose(together, alone, atol=2e-4)


def test_a_long_label_word_is_not_the_worse_for_its_length(model):
    """A label of the same token twice has the mean, not the sum, of the two."""
    row = prompts([6])[0]
    once, twice = predict(model, words.tokenizer(), [row], outputs=LabelWords([[9], [9, 9]]))[0]
    first, mean = table(model, [row], [[9], [9, 9]])[0].tolist()
    assert once == pytest.approx(first, abs=2e-4)
    assert twice == pytest.approx(mean, abs=2e-4)
    assert 2 * mean < first - 0.1


@pytest.mark.parametrize("name", words.DECODERS)
def test_label_words_of_one_token_take_one_pass(name):
    model = words.DECODERS[name]()
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    batch = pad(prompts(), words.tokenizer())
    LabelWords([[11], [12]])(model, batch)
    assert len(passes) == 1
    LabelWords(LABELS)(model, batch)
    assert len(passes) == 1 + 3


def test_prior_rows_take_their_mean_off(model):
    rows, tokenizer = prompts(), words.tokenizer()
    plain = predict(model, tokenizer, rows, outputs=LabelWords(LABELS))
    prior = prompts([4, 9])
    off = predict(model, tokenizer, prior, outputs=LabelWords(LABELS)).mean(axis=0)
    outputs = LabelWords(LABELS, prior)
    np.testing.assert_allclose(predict(model, tokenizer, rows, outputs=outputs), plain - off, atol=1e-5)
    np.testing.assert_allclose(predict(model, tokenizer, rows, outputs=outputs.raw()), plain, atol=1e-5)


def test_gradients_are_those_of_a_plain_forward(model):
    rows, wanted = prompts(), torch.tensor([0, 1, 2, 1])
    weight = model.get_output_embeddings().weight

    def gradient(scores):
        model.zero_grad()
        functional.cross_entropy(scores, wanted).backward()
        return weight.grad.clone()

    ours = gradient(LabelWords(LABELS)(model, pad(rows, words.tokenizer())))
    plain = gradient(table(model, rows))
    assert float(plain.abs().max()) > 1e-3
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-3)


def test_positions_are_compared_where_they_are_asked_about():
    generator = torch.Generator().manual_seed(0)
    found, wanted = torch.randn(2, 2, 5, 3, generator=generator)
    asked = torch.tensor([[False, True, True, False, False], [True, True, True, True, False]])
    each = TokenOutputs().per_example(found, asked)
    assert [tuple(part.shape) for part in each] == [(2, 3), (4, 3)]
    log_found, log_wanted = found[asked].log_softmax(-1), wanted[asked].log_softmax(-1)
    expected = functional.kl_div(log_found, log_wanted, log_target=True, reduction="batchmean")
    torch.testing.assert_close(TokenOutputs().divergence(each, TokenOutputs().per_example(wanted, asked)), expected)
    assert TokenOutputs().divergence(each, each) == 0


def test_the_loss_of_positions_counts_those_with_a_label():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [5.0, 5.0]]])
    found = TokenOutputs().loss(logits, {"labels": torch.tensor([[0, 0, IGNORED]])})
    torch.testing.assert_close(
        found, (functional.softplus(torch.tensor(-2.0)) + functional.softplus(torch.tensor(3.0))) / 2
    )


def test_agreement_is_the_share_of_like_decisions():
    ours = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0], [4.0, 1.0]], dtype=np.float32)
    full = ours[:, ::-1].copy()
    full[0] = ours[0]
    assert Outputs().agreement(ours, full) == 0.25
    assert TokenOutputs().agreement([ours[:3], ours[3:]], [full[:3], full[3:]]) == 0.25
    assert Outputs().agreement(ours[:, :1], ours[:, :1]) == 1.0
