"""Rows of tagged sentences, and what comes back from a model for them."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers import tagging_data as tagging
from helpers import word_tokenizer as words
from helpers.tiny_models import ENCODERS, tiny
from transformers import AutoConfig, AutoTokenizer

from latadj.checkpoints.model_class import auto_class, fresh_head, prepare_tokenizer, saved_head
from latadj.config import TaskConfig
from latadj.elimination.architectures import architecture_of
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.tasks.encoding.batches import IGNORED, POSITION_MASK, TEACHER, Collator, rows_of
from latadj.tasks.outputs.logits import TokenOutputs
from latadj.tasks.outputs.predict import predict
from latadj.tasks.types import task_type_of
from latadj.tasks.types.token_classification import _places

TASK = TaskConfig(
    name="mine", type="token_classification", text=["tokens"], label="tags", labels=tagging.LABELS, metric="entity_f1"
)
KIND = task_type_of(TASK)
CUT = Profile((0.9, 0.6, 0.4, 0.2))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(tagging.write_model(tmp_path_factory.mktemp("tagger")))


def examples(*sentences):
    tags = [["B-PER", *["O"] * (len(sentence.split()) - 1)] for sentence in sentences]
    return Dataset.from_dict({"tokens": [sentence.split() for sentence in sentences], "tags": tags})


def perfect(encoded, data):
    """Answers that make every word's own tag the likeliest."""
    answers = []
    for example, asked in zip(encoded["example"], encoded["words"], strict=True):
        answer = np.zeros((len(asked), len(tagging.LABELS)), dtype=np.float32)
        for place, word in enumerate(asked):
            answer[place, tagging.LABELS.index(data[example]["tags"][word])] = 1
        answers.append(answer)
    return answers


def test_the_first_token_of_each_word_carries_its_label(tokenizer):
    (row,) = KIND.encode(examples("Anna Berg lives in Oslo"), tokenizer, 48)
    assert tokenizer.convert_ids_to_tokens(row["input_ids"]) == [
        *("[CLS]", "Anna", "Berg", "lives", "in", "Oslo", "[SEP]"),
    ]
    (row,) = KIND.encode(examples("Maria lives in Malmo"), tokenizer, 48)
    assert tokenizer.convert_ids_to_tokens(row["input_ids"])[:4] == ["[CLS]", "Mar", "##ia", "lives"]
    assert (row["positions"], row["words"]) == ([1, 3, 4, 5], [0, 1, 2, 3])
    assert row["labels"] == [IGNORED, 5, IGNORED, 0, 0, 0, IGNORED, IGNORED]


@pytest.mark.parametrize("limit", [5, 6, 9, 12])
def test_a_long_sentence_has_each_word_asked_once_in_the_middle_of_a_window(tokenizer, limit):
    data = examples("Maria lives in Malmo and Anna was late yesterday in the house Bergen", "Oslo was late")
    encoded = KIND.encode(data, tokenizer, limit)
    assert max(encoded["length"]) <= limit
    assert len(encoded) > 2
    for example in (0, 1):
        asked = [word for row in encoded if row["example"] == example for word in row["words"]]
        assert sorted(asked) == list(range(len(data[example]["tokens"])))
    assert all(row["positions"] == sorted(row["positions"]) for row in encoded)
    assert KIND.predictions(perfect(encoded, data), encoded, data) == data["tags"][:]


def test_the_window_that_shows_most_around_a_word_asks_about_it():
    sentence = ["a"] * 12  # one character each, so that word n stands at 2 n
    windows = [[(2 * word, 2 * word + 1) for word in part] for part in (range(8), range(4, 12))]
    assert [list(found) for found in _places(sentence, windows)] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_a_window_that_starts_inside_a_word_does_not_ask_about_it():
    windows = [[(0, 2), (2, 4)], [(4, 6), (7, 8)]]
    assert _places(["abcdef", "g"], windows) == [{0: 0}, {1: 1}]


def test_words_that_have_no_token_are_outside(tokenizer):
    data = Dataset.from_dict({"tokens": [["Anna", "\u200b", "late"], ["\u200b"]], "tags": [["B-PER", "O", "O"], ["O"]]})
    encoded = KIND.encode(data, tokenizer, 48)
    assert [row["words"] for row in encoded] == [[0, 2]]
    assert KIND.predictions(perfect(encoded, data), encoded, data) == [["B-PER", "O", "O"], ["O"]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_byte_level_tokenizer_finds_the_words_and_padding_may_stand_on_either_side(side):
    tokenizer = words.tokenizer(padding_side=side)
    data = examples("Anna lives in Oslo", "late")
    encoded = KIND.encode(data, tokenizer, 64)
    assert [row["words"] for row in encoded] == [[0, 1, 2, 3], [0]]
    collate = Collator(tokenizer, TokenOutputs.targets)
    rows = [{**row, TEACHER: [[0.5] * 7] * len(row["words"])} for row in encoded]
    batch = collate(rows)
    assert batch[POSITION_MASK].sum(dim=1).tolist() == [4, 1]
    assert batch["labels"][batch[POSITION_MASK]].tolist() == [5, 0, 0, 0, 5]
    assert bool((batch["labels"][~batch[POSITION_MASK]] == IGNORED).all())
    assert [tuple(wanted.shape) for wanted in batch[TEACHER]] == [(4, 7), (1, 7)]


def test_a_table_has_a_row_for_each_word(tokenizer):
    data = examples("Anna lives", "Otto was late")
    encoded = KIND.encode(data, tokenizer, 48)
    frame = KIND.table(data, KIND.predictions(perfect(encoded, data), encoded, data), None)
    assert frame["sentence"].tolist() == [0, 0, 1, 1, 1]
    assert frame["prediction"].tolist() == frame["tag"].tolist()


def test_agreement_counts_words():
    assert KIND.agreement([["O", "O"], ["O"]], [["O", "B-PER"], ["O"]]) == pytest.approx(2 / 3)


def test_a_metric_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"task\.metric=accuracy: expected one of entity_f1, entity_f1_strict, tag"):
        task_type_of(TaskConfig(name="mine", type="token_classification", metric="accuracy")).check()


@pytest.mark.parametrize("profile_type", [*ENCODERS, "gpt2", "llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("head", ["tagger", "reader"])
def test_heads_that_read_every_token_restore_those_that_were_eliminated(profile_type, head):
    if (profile_type, head) == ("nomic_bert", "reader"):
        pytest.skip("transformers has no NomicBERT for question answering")
    model = attach(tiny(profile_type, head, num_labels=3 if head == "tagger" else 2))
    assert architecture_of(model).reads(model) == "all"
    kind = "token_classification" if head == "tagger" else "question_answering"
    model.config.architectures = [type(model).__name__]
    assert saved_head(model.config) == kind
    assert isinstance(model, tuple(auto_class(model.config, kind)._model_mapping.values()))
    generator = torch.Generator().manual_seed(3)
    rows = []
    for length in (17, 9, 23, 4):
        ids = torch.randint(3, 120, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "attention_mask": [1] * length, "positions": list(range(0, length, 3))})
    tokenizer = words.tokenizer()
    prepare_tokenizer(tokenizer, model.config, kind)
    outputs = TokenOutputs() if head == "tagger" else Spans()
    full = predict(model, tokenizer, rows, outputs=outputs)
    with at_profile(model, CUT):
        cut = predict(model, tokenizer, rows, outputs=outputs)
        alone = predict(model, tokenizer, rows, outputs=outputs, batch_size=1)
    for row, ours, single, whole in zip(rows, cut, alone, full, strict=True):
        assert ours.shape == (len(row["positions"]), model.config.num_labels if head == "tagger" else 2)
        np.testing.assert_allclose(ours, single, atol=1e-4)  # eliminated or not, padded or not
        assert np.isfinite(ours).all() and np.ptp(ours[:, 0]) > 1e-3
        assert len(row["positions"]) < 3 or not np.allclose(ours, whole, atol=1e-3)


class Spans(TokenOutputs):
    def __call__(self, model, batch):
        found = model(**batch)
        return torch.stack([found.start_logits, found.end_logits], dim=-1)


def test_a_question_is_not_answered_by_an_encoder_decoder():
    with pytest.raises(ValueError, match="a t5 model has no head for question_answering"):
        auto_class(AutoConfig.for_model("t5"), "question_answering")


def test_fresh_heads_have_the_names_of_their_labels():
    assert fresh_head("token_classification", ["O", "B-PER"], False) == {
        "num_labels": 2,
        "id2label": {0: "O", 1: "B-PER"},
        "label2id": {"O": 0, "B-PER": 1},
    }
    assert fresh_head("question_answering", [], True) == {"num_labels": 2}
    assert fresh_head("generation", [], True) is None


def test_rows_keep_where_they_are_asked(tokenizer):
    rows = rows_of(KIND.encode(examples("Anna was late"), tokenizer, 48))
    assert set(rows[0]) == {"input_ids", "attention_mask", "token_type_ids", "positions"}
