"""latadj generate through the real command line, on a tiny decoder."""

import json
import os
import re
import threading
from pathlib import Path

import pytest
import torch
from helpers.tiny_language_models import LANGUAGE_MODELS, POSITIONS, tiny_tokenizer, with_dial, write_language_model
from typer.testing import CliRunner

from latadj.cli import app
from latadj.commands import given_text
from latadj.commands.generate import ConsoleStreamer

PROMPT = "the speech was long and nobody listened to it " * 3


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def llama(tmp_path):
    return write_language_model(tmp_path / "model", "llama")


def generate(folder, *arguments, expect=0):
    options = [f"model.path={folder}", f"folder={folder.parent / 'out'}", "device.name=cpu", "device.threads=1"]
    found = CliRunner().invoke(app, ["generate", *arguments, "model=llama", *options], catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found


def refused(folder, *arguments):
    found = generate(folder, *arguments, expect=2)
    assert found.stderr.count("\n") == 1, found.stderr
    assert not (folder.parent / "out").exists()
    return found.stderr


def result(folder):
    return json.loads((folder.parent / "out" / "generate" / "generate.json").read_text())


def expected_text(kind, prompt, tokens):
    ids = tiny_tokenizer()(prompt, return_tensors="pt")["input_ids"]
    found = LANGUAGE_MODELS[kind]().generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens)
    return tiny_tokenizer().decode(found[0, -tokens:], skip_special_tokens=True)


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_a_model_without_a_dial_generates_as_it_is(tmp_path, kind):
    folder = write_language_model(tmp_path / "model", kind)
    shown = generate(folder, PROMPT, "max_new_tokens=8").stdout
    text, _, summary = shown.partition("─")
    assert text.strip() == expected_text(kind, PROMPT, 8)
    assert "prompt of 27 tokens in the model as it is, without a dial; survivors in each layer: 27 27 27\n" in summary
    assert re.search(r"first token after \d+ ms, [\d.]+ tokens/s", summary)
    found = result(folder)
    assert found["text"].strip() == text.strip()
    assert (found["prompt_tokens"], found["tokens"], found["survivors"]) == (27, 8, [27, 27, 27])
    assert found["ttft_ms"] > 0 < found["tokens_per_s"]


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_a_dial_cuts_the_prompt_and_says_who_survived(tmp_path, kind):
    folder = with_dial(write_language_model(tmp_path / "model", kind), kind)
    generate(folder, PROMPT, f"checkpoint={folder}", "speedup=1", "max_new_tokens=6")
    assert result(folder)["survivors"] == [27, 27, 27]
    assert result(folder)["text"].strip() == expected_text(kind, PROMPT, 6)
    shown = generate(folder, PROMPT, f"checkpoint={folder}", "speedup=2", "max_new_tokens=6").stdout
    assert "prompt of 27 tokens at 2x; survivors in each layer: 27" in shown or kind == "t5"
    held = result(folder)["survivors"]
    if kind == "t5":  # all layers of its decoder read the same survivors
        assert held == [held[0]] * 3
        assert held[0] < 27
    else:
        assert 27 == held[0] > held[1] > held[2] > 0


@pytest.mark.parametrize("prompt", ["= speedup=3 the speech", "the speech: [a, b] {c} 'd' \\ é", "x = 1"])
def test_a_prompt_may_hold_signs_of_an_override(llama, prompt):
    generate(llama, "max_new_tokens=2", prompt)
    assert (result(llama)["prompt"], result(llama)["speedup"]) == (prompt, 1.0)


def test_a_file_is_read_whole(llama, tmp_path):
    (tmp_path / "prompt.txt").write_text("the speech =\nwas long", encoding="utf-8")
    generate(llama, "--file", str(tmp_path / "prompt.txt"), "max_new_tokens=2")
    assert (result(llama)["prompt"], result(llama)["prompt_tokens"]) == ("the speech =\nwas long", 5)


def test_one_token_has_no_rate(llama):
    assert "tokens/s" not in generate(llama, PROMPT, "max_new_tokens=1").stdout
    assert (result(llama)["tokens"], result(llama)["tokens_per_s"]) == (1, None)


def test_a_text_ends_where_the_context_does(llama):
    generate(llama, PROMPT * 2, "max_new_tokens=100")
    assert (result(llama)["prompt_tokens"], result(llama)["tokens"]) == (54, POSITIONS - 54)


def test_sampling_is_repeated_by_its_seed(llama):
    texts = []
    for seed in (1, 1, 2):
        generate(llama, PROMPT, "temperature=3.0", f"seed={seed}", "max_new_tokens=12")
        texts.append(result(llama)["text"])
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("option", "tokens"), [((), 6), (("chat=true",), 6), (("chat=false",), 3)])
def test_a_chat_template_is_used_where_there_is_one(tmp_path, option, tokens):
    folder = write_language_model(tmp_path / "model", chat=True)
    generate(folder, "it was long", "max_new_tokens=2", *option)
    assert result(folder)["prompt_tokens"] == tokens


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((" \n",), "the prompt is empty: give a text"),
        (("long " * 20_000,), "the prompt has 100,000 characters, and this model's context of 64 tokens has no room"),
        ((PROMPT * 3,), "the prompt has 81 tokens, which leaves no room in this model's context of 64"),
        ((PROMPT, "speedup=3"), "speedup=3 needs a dial, and there is no checkpoint"),
        ((PROMPT, "speedup=1..3"), "speedup=1..3: generate takes one speedup"),
        ((PROMPT, "speedup=0.5"), "speedup=0.5: expected a number >= 1"),
        ((PROMPT, "chat=true"), "chat=true: this model's tokenizer has no chat template"),
        ((PROMPT, "max_new_tokens=0", "temperature=-1"), "max_new_tokens=0: expected at least 1; temperature=-1.0"),
        (("--file", "nowhere.txt"), "No such file or directory: 'nowhere.txt'"),
    ],
)
def test_bad_input_is_one_line(llama, arguments, message):
    assert message in refused(llama, *arguments)


def test_a_checkpoint_without_a_dial_says_how_to_make_one(llama):
    message = refused(llama, PROMPT, "speedup=2", f"checkpoint={llama}", "task=rotten_tomatoes")
    assert f"checkpoint {llama} has none: make one with `latadj calibrate model=llama task=rotten_tomatoes`" in message
    message = refused(with_dial(llama, "llama"), PROMPT, "speedup=9", f"checkpoint={llama}")
    assert "beyond this dial, which goes to 5" in message


PROMPTS = {"what": "prompt", "example": "generate PROMPT", "quotes": "put the prompt into quotes"}


def only_prompt(*texts, literal=(), file=None):
    return given_text.only_text(texts, literal, file, **PROMPTS)


def test_prompts_and_overrides_are_told_apart_in_any_order():
    arguments = ["seed=1", "a = b", "+task.group=x", "~prompt=", "http://a.b/?c=d", "-"]
    assert given_text.texts_and_overrides("generate", arguments) == (
        ["a = b", "http://a.b/?c=d", "-"],
        ["seed=1", "+task.group=x", "~prompt="],
    )
    with pytest.raises(ValueError, match=r"sed=: .* mean seed=.* a text that reads as KEY=VALUE goes behind --"):
        given_text.texts_and_overrides("generate", ["sed=1"])


def test_a_prompt_is_one_argument_or_a_file(tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\xef\xbb\xbfthe speech")
    assert only_prompt("the speech") == only_prompt(literal=["the speech"]) == only_prompt(file=file) == "the speech"
    with pytest.raises(ValueError, match=r"no prompt: give one, .* - for standard input, or --file FILE"):
        only_prompt()
    with pytest.raises(ValueError, match="and the prompt 'hello': give one of them"):
        only_prompt("hello", file=file)
    with pytest.raises(ValueError, match="'there' is a second prompt: put the prompt into quotes"):
        only_prompt("hello", "there")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="this is no UTF-8 text"):
        only_prompt(file=file)


def test_what_stands_behind_two_dashes_is_the_prompt(llama):
    options = [f"model.path={llama}", f"folder={llama.parent / 'out'}", "model=llama", "max_new_tokens=2"]
    for prompt in ("seed=9", "-"):
        CliRunner().invoke(app, ["generate", *options, "--", prompt], catch_exceptions=False)
        assert (result(llama)["prompt"], result(llama)["config"]["seed"]) == (prompt, 0)


def test_a_dash_reads_standard_input_without_its_last_line_break(llama):
    options = ["generate", "-", "model=llama", f"model.path={llama}", f"folder={llama.parent / 'out'}"]
    CliRunner().invoke(app, [*options, "max_new_tokens=2"], input="the speech\nwas long\n", catch_exceptions=False)
    assert result(llama)["prompt"] == "the speech\nwas long"
    found = CliRunner().invoke(app, options, input=b"\xff\n", catch_exceptions=False)
    assert (found.exit_code, "standard input: this is no UTF-8 text" in found.stderr) == (2, True)


def test_a_pipe_is_waited_for_and_said_to_be(tmp_path, caplog):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("the speech\r\nwas",))
    writer.start()
    assert only_prompt(file=pipe) == "the speech\nwas"
    writer.join()
    assert f"--file {pipe} is a pipe or a device: waiting for its end" in caplog.text


def test_a_file_without_end_is_refused():
    with pytest.raises(ValueError, match="--file /dev/zero: more than 64 MiB, and no model reads as much"):
        only_prompt(file=Path("/dev/zero"))


def test_what_a_model_says_of_its_generation_does_not_change_the_search(tmp_path):
    folder = write_language_model(tmp_path / "model", "llama")
    settings = {"use_cache": False, "num_beams": 3, "num_return_sequences": 2}
    (folder / "generation_config.json").write_text(json.dumps({"pad_token_id": 0, **settings}))
    generate(folder, PROMPT, "max_new_tokens=8")
    assert result(folder)["text"].strip() == expected_text("llama", PROMPT, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eos_token_id": "</s>"}, "eos_token_id='</s>' in generation_config.json: expected the number of a token"),
        ({"eos_token_id": [1, "x"]}, "eos_token_id=[1, 'x'] in generation_config.json"),
        ({"guidance_scale": "x"}, "guidance_scale='x' in generation_config.json: expected a number, or null"),
        ({"prefill_chunk_size": 8}, "prefill_chunk_size=8 in generation_config.json: generate reads a prompt at once"),
    ],
)
def test_settings_of_a_model_that_do_not_fit_are_one_line(llama, settings, message):
    (llama / "generation_config.json").write_text(json.dumps({"pad_token_id": 0, **settings}))
    assert message in refused(llama, PROMPT)


def test_a_model_that_scores_words_with_nan_is_refused(tmp_path):
    folder = write_language_model(tmp_path / "model", "gpt2")
    broken = LANGUAGE_MODELS["gpt2"]()
    broken.transformer.wte.weight.data[-1] = torch.nan  # of a word that the prompt lacks; the head's weights too
    broken.save_pretrained(folder)
    assert "the model answers NaN or infinity: its weights are damaged" in generate(folder, PROMPT, expect=2).stderr


def test_what_a_model_writes_does_not_steer_the_terminal(capsys):
    streamer = ConsoleStreamer(tiny_tokenizer())
    streamer.on_finalized_text("a\x1b[2J [/b] x[:on:]\tb\n", stream_end=True)
    shown = capsys.readouterr().out
    assert shown.startswith(r"a\x1b[2J [/b] x[:on:]")
    assert "\x1b" not in shown
    assert streamer.text == "a\x1b[2J [/b] x[:on:]\tb\n"


def test_a_chat_template_that_refuses_the_prompt_is_one_line(tmp_path):
    folder = write_language_model(tmp_path / "model", chat=True)
    template = "{{ raise_exception('Conversation roles must alternate') }}"
    (folder / "chat_template.jinja").write_text(template)
    message = refused(folder, "it was long")
    assert "this model's chat template fails: Conversation roles must alternate; take chat=false" in message


def test_the_config_can_be_shown_with_and_without_a_prompt():
    for arguments in (["--cfg"], ["--cfg", "a prompt", "max_new_tokens=7"]):
        found = CliRunner().invoke(app, ["generate", *arguments], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        assert f"max_new_tokens: {7 if len(arguments) > 1 else 128}" in found.stdout
