"""What no model can read of a text never reaches the tokenizer, and what it reads is the same."""

import pytest
from datasets import Dataset
from helpers import toy_project as toy
from helpers import word_tokenizer as words
from transformers import AutoTokenizer

from latadj.config import TaskConfig
from latadj.tasks.encoding.batches import LEAST_CHARACTERS, encode, most_characters, shortened, tokenize

LONG = "the film is a very long story about people and music " * 2_000
LIMIT = 32


class Watched:
    """A tokenizer that notes the longest text it was given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.longest = tokenizer, 0

    def __call__(self, *columns, **options):
        self.longest = max([self.longest, *(len(text) for column in columns for text in column)])
        return self.tokenizer(*columns, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return AutoTokenizer.from_pretrained(toy.write_model(tmp_path_factory.mktemp("toy"), layers=1))


@pytest.fixture(params=["words", "bytes"])
def watched(request, pieces):
    return Watched(pieces if request.param == "words" else words.tokenizer(model_max_length=LIMIT))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("columns", [1, 2])
def test_the_tokens_of_a_long_text_are_those_of_all_of_it(watched, side, columns, monkeypatch):
    monkeypatch.setattr(watched.tokenizer, "truncation_side", side)
    texts = [[LONG, "a good film", LONG + "and bad"][place : place + 2] for place in range(columns)]
    whole = watched.tokenizer(*texts, truncation=True, max_length=LIMIT)["input_ids"]
    assert [row["input_ids"] for row in tokenize(texts, watched, LIMIT)] == whole
    names = ["one", "two"][:columns]
    examples = Dataset.from_dict({**dict(zip(names, texts, strict=True)), "label": [0, 1]})
    task = TaskConfig(name="toy", text=names, labels=["0", "1"])
    assert list(encode(examples, watched, task, LIMIT)["input_ids"]) == whole
    assert watched.longest == most_characters(LIMIT) == LEAST_CHARACTERS


def test_a_text_within_the_bound_is_left_alone(pieces):
    assert most_characters(512) == 256 * 512
    assert most_characters(1) == LEAST_CHARACTERS
    blanks = " " * (LEAST_CHARACTERS - 4) + "good"
    assert shortened(blanks, pieces, LIMIT) is blanks
    assert tokenize([[blanks]], pieces, LIMIT) == tokenize([["good"]], pieces, LIMIT)
