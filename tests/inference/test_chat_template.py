"""A chat template comes with the model: it ends, in bounded memory, or is refused in one line."""

import time

import pytest
from helpers.tiny_language_models import tiny_tokenizer

from latadj.inference import chat_template
from latadj.inference.chat_template import chat_text

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def tokenizer(template):
    made = tiny_tokenizer()
    made.chat_template = template
    return made


def test_a_text_is_the_one_that_transformers_makes():
    made = tiny_tokenizer(chat=True)
    messages = [{"role": "user", "content": "it was {{ long }} é"}]
    expected = made.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat_text(made, "it was {{ long }} é", 1000) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0].content }} é", None),
        # In steps, since no process here fails before it is looked at.
        ("{% for a in range(9999) %}{{ 'a' * 10 ** 7 }}{% endfor %}", "it takes too much memory"),
    ],
    ids=["text", "memory"],
)
def test_without_fork_and_limits_of_the_system_a_template_is_bounded_too(template, message, monkeypatch):
    monkeypatch.setattr(chat_template.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr(chat_template, "MEMORY", 2**26)
    if message is None:
        assert chat_text(tokenizer(template), "hello", 1000) == "hello é"
        return
    with pytest.raises(ValueError, match=message):
        chat_text(tokenizer(template), "hello", 1000)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (ENDLESS, "it takes more than 0.5 seconds"),
        ("{{ 10 ** (10 ** 9) }}", "it takes more than 0.5 seconds"),
        ("{{ 'a' * 10 ** 11 }}", "it takes too much memory"),
        ("{{ 'a' * 1001 }}", "it makes a text of 1,001 characters, more than the 1,000 that can fit the model"),
        ("{{ raise_exception('roles\nmust alternate') }}", "roles"),
        ("{% for", "TemplateSyntaxError|unexpected|expected token"),
        ("{{ 1 + 'a' }}", "unsupported operand"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_template_that_fails_is_one_line(template, message, monkeypatch):
    monkeypatch.setattr(chat_template, "SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(ValueError, match=message) as error:
        chat_text(tokenizer(template), "hello", 1000)
    assert time.monotonic() - began < 10
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("chat=true: this model's chat template fails: ")
    assert str(error.value).endswith("take chat=false, which gives the model the prompt as it is")
