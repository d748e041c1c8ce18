"""A model takes the place of a saved model only, never of what somebody else put there."""

import json
from pathlib import Path

import pytest
from helpers import toy_project as toy
from helpers.word_tokenizer import DECODERS, tokenizer

from latadj.checkpoints.checkpoint import load, save
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.replaceable import check_replaceable
from latadj.utils.files import write_folder

CHAT = "{% for message in messages %}{{ message.content }}{% endfor %}"


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        check_replaceable("checkpoint", str(folder), [])
    return str(caught.value)


@pytest.mark.parametrize("config", ["{}", json.dumps({"model_type": "bert"})])
@pytest.mark.parametrize("precious", ["src/precious.py", "notes.txt", ".git/HEAD", "model.bin", "old.safetensors/a"])
def test_a_config_alone_does_not_make_a_folder_a_model(tmp_path, config, precious):
    (tmp_path / precious).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / precious).write_text("work")
    (tmp_path / "config.json").write_text(config)
    first = precious.split("/")[0]
    assert f"holds {first}, which is no part of a saved model and would be lost" in refusal(tmp_path)


def test_a_file_is_no_folder_for_a_model(tmp_path):
    (tmp_path / "model").write_text("work")
    assert "this is a file" in refusal(tmp_path / "model")


def test_a_link_in_a_circle_is_no_folder_for_a_model(tmp_path):
    (tmp_path / "link").symlink_to("link")
    assert "this symbolic link leads round in a circle" in refusal(tmp_path / "link")


@pytest.mark.parametrize("folder", ["notes.txt/model", "notes.txt/new/model"])
def test_a_place_where_nothing_can_be_made_is_refused(tmp_path, folder):
    (tmp_path / "notes.txt").write_text("work")
    assert "nothing can be written in /" in refusal(tmp_path / folder)


@pytest.mark.parametrize("folder", ["new", "empty"])
def test_an_empty_place_can_be_taken(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    check_replaceable("checkpoint", str(tmp_path / folder), [])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_was_saved_can_be_replaced(tmp_path, kind):
    chats = tokenizer(chat_template={"default": CHAT, "tools": CHAT})
    save(DECODERS[kind](), chats, tmp_path / "model", CheckpointMetadata())
    assert (tmp_path / "model" / "additional_chat_templates").is_dir()
    check_replaceable("checkpoint", str(tmp_path / "model"), [])


def test_a_model_that_latadj_did_not_make_stays(tmp_path):
    model, words = load(toy.write_model(tmp_path / "own"))
    save(model, words, tmp_path / "model", CheckpointMetadata())
    check_replaceable("checkpoint", str(tmp_path / "model"), [])
    assert "no latadj.json, so that latadj did not make it, and they would be lost" in refusal(tmp_path / "own")


def test_files_that_are_called_like_those_of_a_model_stay(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "vocab.txt").write_text("my words")
    assert "they would be lost" in refusal(tmp_path)


def test_a_link_to_a_model_stays_a_link(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    write_folder(tmp_path / "link", lambda target: (target / "config.json").write_text("{}") and None)
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]
