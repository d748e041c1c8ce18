"""What a session makes of a task's examples."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from helpers import toy_project as toy
from transformers import AutoTokenizer

from latadj.commands.common import session as module
from latadj.commands.common.session import Session, enough
from latadj.config.compose import compose, typed


def session(folder, *overrides):
    config = typed("sweep", compose("sweep", list(overrides)))
    tokenizer = AutoTokenizer.from_pretrained(toy.write_model(folder / "model"))
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=32))
    return Session(config, torch.device("cpu"), None, model, tokenizer)


def test_a_generation_task_is_cut_into_prompts_with_continuations(tmp_path):
    opened = session(tmp_path, "task=text", "task.prompt_length=6", "task.continuation_length=3")
    documents = Dataset.from_dict({"text": ["the film is a very long story about people and music"], "document": [4]})
    found = opened.encoded(documents)
    words = opened.tokenizer.convert_ids_to_tokens
    assert words(found[0]["input_ids"]) == ["[CLS]", "the", "film", "is", "a", "[SEP]"]
    assert words(found[0]["continuation"]) == ["very", "long", "story"]
    assert (found[0]["document"], found[0]["length"]) == (4, 6)


def test_a_prompt_longer_than_the_models_context_is_refused(tmp_path):
    opened = session(tmp_path, "task=text", "task.prompt_length=31", "task.continuation_length=3")
    with pytest.raises(ValueError, match="make 34 tokens, the model's context has 32"):
        opened.encoded(Dataset.from_dict({"text": ["good"], "document": [0]}))


def test_a_classification_task_is_cut_to_the_models_positions(tmp_path):
    found = session(tmp_path).encoded(Dataset.from_dict({"text": ["good film " * 40], "label": [1]}))
    assert (found[0]["length"], found[0]["labels"]) == (32, 1)


@pytest.mark.parametrize(("most", "expected"), [(None, 10), (25, 25)])
def test_a_calibration_asks_about_fewer_texts_where_they_are_long(tmp_path, monkeypatch, most, expected):
    monkeypatch.setattr(module, "TOKENS", 320)
    monkeypatch.setattr(module, "FEWEST", 3)
    opened = session(tmp_path)
    train = Dataset.from_dict({"text": ["good film " * 40] * 30, "label": [0] * 30})  # 32 tokens each, cut
    opened.splits = SimpleNamespace(train=train)
    assert len(opened.calibration_set(most).lengths) == expected


def test_a_calibration_never_asks_about_too_few(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOKENS", 32)
    monkeypatch.setattr(module, "FEWEST", 7)
    opened = session(tmp_path)
    opened.splits = SimpleNamespace(train=Dataset.from_dict({"text": ["good film " * 40] * 30, "label": [0] * 30}))
    assert len(opened.calibration_set(None).lengths) == 7


@pytest.mark.parametrize(("count", "expected"), [(8, {"validation"}), (3, {"validation", "train"})])
def test_a_search_asks_about_texts_that_no_training_saw_unless_they_are_too_few(tmp_path, monkeypatch, count, expected):
    monkeypatch.setattr(module, "FEWEST", 5)
    opened, seen = session(tmp_path), []
    parts = {"train": 30, "validation": count}
    opened.splits = SimpleNamespace(
        **{name: Dataset.from_dict({"text": [name] * size, "label": [0] * size}) for name, size in parts.items()}
    )
    monkeypatch.setattr(type(opened), "encoded", lambda self, examples: seen.append(set(examples["text"])) or examples)
    monkeypatch.setattr(module, "rows_of", lambda examples: [{"input_ids": [1]}] * len(examples))
    assert len(opened.calibration_set(None).rows) == 30
    assert len(opened.calibration_set(None, unseen=True).rows) == (8 if count == 8 else 33)
    assert seen == [{"train"}, expected]


@pytest.mark.parametrize(("lengths", "many"), [([30] * 512, 512), ([320] * 512, 100), ([5000] * 512, 64), ([9] * 5, 5)])
def test_of_long_texts_fewer_are_asked_about(lengths, many):
    assert len(lengths[: enough(lengths)]) == many
