"""latadj explain through the real command line, on a tiny classifier, and its page in a real browser."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import toy_project as toy
from helpers.browser import Browser
from helpers.tiny_language_models import with_dial, write_language_model
from rich.console import Console
from transformers import AutoModelForSequenceClassification, BertConfig
from typer.testing import CliRunner

import latadj
from latadj.checkpoints.checkpoint import load
from latadj.checkpoints.metadata import CheckpointMetadata, TaskSpec, read_metadata, write_metadata
from latadj.cli import app
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach
from latadj.elimination.cost import schedule
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.inference.explain import read
from latadj.inference.explained_text import encode_text
from latadj.reporting import explain as console_report

TEXT = "the film is a very long story about people and music, and it is <b>great</b> & fine"
LABELS = ["no", 'yes "<i>']
PURPOSE = TaskSpec("classification", ["text"], LABELS, "accuracy", 28, 32)


def write_checkpoint(folder, task_spec=PURPOSE, outputs=2):
    """A random classifier whose answers differ from text to text, with a dial in FLOPs."""
    toy.write_model(folder)
    config = BertConfig.from_pretrained(folder, num_labels=outputs, initializer_range=0.4)
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    dial = Dial((0.8, 0.7, 0.6, 0.5), (20, 24), layer_shapes(attach(model)), profile_type="geometric", max_speedup=4)
    write_metadata(folder, CheckpointMetadata("mine", dial, task_spec=task_spec))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("explain") / "checkpoint")


def explain(folder, root, *arguments, expect=0):
    options = [f"checkpoint={folder}", f"folder={root / 'out'}", "device.name=cpu", "device.threads=1"]
    found = CliRunner().invoke(app, ["explain", *arguments, *options], catch_exceptions=False)
    assert found.exit_code == expect, found.output
    return found


def refused(folder, root, *arguments):
    found = explain(folder, root, *arguments, expect=2)
    assert found.stderr.count("\n") == 1, found.stderr
    assert list(root.iterdir()) == []
    return found.stderr


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """What a run with a page printed, its result and its page."""
    root = tmp_path_factory.mktemp("whole")
    page = root / "pages" / "mine.html"
    shown = explain(folder, root, TEXT, "speedup=3", "--html", str(page)).stdout
    return shown, json.loads((root / "out" / "explain" / "explain.json").read_text()), page


@pytest.fixture(scope="module")
def library(folder):
    model, tokenizer = load(folder)
    return model, encode_text([TEXT], tokenizer, 28)


def test_the_result_is_what_the_library_gives(whole, library, folder):
    _, result, _ = whole
    model, text = library
    assert (result["schema"], result["task"], result["tokens"], result["pooled"]) == (
        *("latadj.explain/2", "mine", text.tokens, 0),
    )
    speedups = [reading["speedup"] for reading in result["readings"]]
    assert speedups == [1 + number / 4 for number in range(13)]
    assert speedups[result["selected"]] == 3
    for found in result["readings"]:
        expected = read(model, text, found["speedup"])
        assert tuple(found["depth"]) == expected.depth
        assert found["outputs"] == pytest.approx(expected.outputs, abs=1e-6)
        plain, _ = latadj.load(folder, speedup=found["speedup"])
        logits = plain(**text.inputs).logits[0]
        assert found["outputs"] == pytest.approx(logits.softmax(-1).tolist(), abs=1e-6)
        profile = Profile(expected.keep, expected.short_length)
        counts = schedule(profile, np.array([text.tokens]), "pooled")
        assert found["left"] == counts[1:, 0].tolist()


def test_without_styles_the_eliminated_are_dots(whole):
    shown, result, _ = whole
    head, *layers = shown.split("\n\n")
    reading = result["readings"][result["selected"]]
    best = int(np.argmax(reading["outputs"]))
    assert f"3x of minilm on mine: {LABELS[best]} {100 * reading['outputs'][best]:.1f}%; at 1x" in head
    assert len(layers) == 4
    for layer, lines in enumerate(layers[:-1]):
        line, text = lines.strip().split("\n")
        share = round(100 * reading["left"][layer] / result["tokens"])
        assert line.startswith(f"layer {layer + 1}") and f" {share}% left, " in line
        gone = sum(depth <= layer for depth in reading["depth"])
        assert text.count("·") == gone
    assert "the head reads [CLS] alone" in layers[-1]


def test_on_a_terminal_the_eliminated_are_dim_and_struck_where_they_leave(folder, tmp_path, monkeypatch):
    terminal = Console(force_terminal=True, color_system="truecolor", width=200, record=True)
    monkeypatch.setattr(console_report, "console", terminal)
    explain(folder, tmp_path, TEXT, "speedup=3")
    result = json.loads((tmp_path / "out" / "explain" / "explain.json").read_text())
    assert [reading["speedup"] for reading in result["readings"]] == [1, 3]
    depths = result["readings"][1]["depth"]
    gone = next(index for index, depth in enumerate(depths) if depth == 0)
    word = result["words"][gone]["text"]
    shown = terminal.export_text(styles=True)
    assert f"\x1b[2;9m{word}\x1b[0m" in shown  # where it leaves
    assert f"\x1b[2m{word}\x1b[0m" in shown  # in the layers above
    assert "·" not in shown


def test_at_speedup_one_everyone_reaches_the_last_layer(folder, tmp_path):
    shown = explain(folder, tmp_path, TEXT, "speedup=1").stdout
    assert "·" not in shown
    assert shown.count("100% left, 18 of 18 words") == 3


def test_words_beyond_the_limit_are_named_as_not_read(folder, tmp_path):
    file = tmp_path / "long.txt"
    file.write_text("good " * 40)
    assert "not read: the last 14 words, beyond 28 tokens" in explain(folder, tmp_path, "--file", str(file)).stdout


def test_what_would_steer_a_terminal_is_not_printed(folder, tmp_path):
    assert "\x1b" not in explain(folder, tmp_path, "good \x1b[31m film \x07 is", "speedup=1").stdout


def test_a_pair_needs_both_texts(tmp_path):
    both = replace(PURPOSE, text=["premise", "hypothesis"])
    folder = write_checkpoint(tmp_path / "pair", both)
    (tmp_path / "empty").mkdir()
    assert "give the second with --text2" in refused(folder, tmp_path / "empty", TEXT)
    explain(folder, tmp_path, "the film is good", "--text2", "the film is bad", "speedup=1.5")
    result = json.loads((tmp_path / "out" / "explain" / "explain.json").read_text())
    assert [word["text"] for word in result["words"] if word["part"] == 1] == ["the", "film", "is", "bad"]


def test_a_regression_shows_its_value(tmp_path, chromium: Browser):
    folder = write_checkpoint(tmp_path / "regression", replace(PURPOSE, labels=[]), outputs=1)
    shown = explain(folder, tmp_path, TEXT, "speedup=2", "step=1", "--html", str(tmp_path / "page.html")).stdout
    result = json.loads((tmp_path / "out" / "explain" / "explain.json").read_text())
    first, second, *_ = (reading["outputs"][0] for reading in result["readings"])
    assert f"mine: {second:.3f}; at 1x {first:.3f} (" in shown
    chromium.open(tmp_path / "page.html")
    assert chromium.errors == []
    assert chromium.run("document.getElementById('answer').textContent") == f"{second:.3f}"
    assert f"{first:.3f} at 1x" in chromium.run("document.getElementById('agreement').textContent")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "the text is empty"),
        ([TEXT, "and another"], "'and another' is a second text: put one text into quotes, and that of a pair after"),
        ([TEXT, "--text2", "another"], "this model reads one text (text), and there are two: leave out --text2"),
        ([TEXT, "speedup=5"], "speedup=5 is beyond this dial, which goes to 4"),
        ([TEXT, "speedup=1..3"], "speedup=1..3: explain takes one speedup"),
        ([TEXT, "step=0"], "step=0.0: expected at least 0.01"),
        ([TEXT, "profile=searched"], "this dial holds no searched profiles"),
        ([TEXT, "--html", "."], "--html .: this is a folder"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(folder, tmp_path, arguments, message):
    assert message in refused(folder, tmp_path, *arguments)


def test_a_page_takes_the_place_of_a_page_alone(folder, tmp_path):
    page = tmp_path / "text.txt"
    for content in ("", "<!doctype html>old"):
        page.write_text(content)
        explain(folder, tmp_path, TEXT, "step=3", "--html", str(page))
    page.write_text(TEXT)
    found = explain(folder, tmp_path, "--file", str(page), "--html", str(page), expect=2)
    assert "text.txt: there is another file here, which is no page; give another name" in found.stderr
    assert page.read_text() == TEXT


def test_no_text_at_all_is_refused():
    found = CliRunner().invoke(app, ["explain"])
    assert (found.exit_code, found.stderr) == (
        2,
        'latadj explain: no text: give one, as in `latadj explain "a fine film" speedup=3`, - for standard input, or '
        "--file FILE\n",
    )


def test_a_language_model_and_a_model_without_a_dial_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    speaks = with_dial(write_language_model(tmp_path / "speaks", "llama"))
    assert "is a language model, and explain shows what a classifier reads" in refused(
        speaks, tmp_path / "empty", TEXT, "speedup=1"
    )
    bare = toy.write_model(tmp_path / "bare")
    assert "has no dial: make one with `latadj calibrate" in refused(bare, tmp_path / "empty", TEXT, "speedup=1")
    assert read_metadata(bare).dial is None


STATE = """(() => ({
  value: document.getElementById("value").textContent,
  answer: document.getElementById("answer").textContent,
  agreement: document.getElementById("agreement").textContent,
  shares: [...document.querySelectorAll("#outputs .share")].map(share => share.textContent),
  alive: [...document.querySelectorAll("#layers li")].map(row => [...row.querySelectorAll(".words span")]
    .filter(word => !word.classList.contains("gone")).length),
  facts: [...document.querySelectorAll("#layers .facts")].map(facts => facts.textContent),
  words: [...document.querySelectorAll("#whole span")].map(word => word.textContent),
}))()"""


def turn(chromium, index):
    chromium.run(f"""(() => {{
      const slider = document.getElementById("speed");
      slider.value = {index};
      slider.dispatchEvent(new Event("input", {{bubbles: true}}));
    }})()""")


@pytest.mark.parametrize("index", [0, 4, 8, 12])
def test_the_slider_shows_what_the_library_gives(whole, chromium: Browser, index):
    _, result, page = whole
    reading, full = result["readings"][index], result["readings"][0]
    chromium.open(page)
    turn(chromium, index)
    shown = chromium.run(STATE)
    assert shown["value"] == f"{reading['speedup']:g}x"
    assert shown["words"] == [word["text"] for word in result["words"]]
    assert shown["alive"] == [sum(depth > layer for depth in reading["depth"]) for layer in range(3)] + [0]
    if index == 0:
        assert shown["alive"][:3] == [len(result["words"])] * 3
    for layer in range(3):
        assert shown["facts"][layer].startswith(f"{100 * reading['left'][layer] / result['tokens']:.0f}% left")
    assert shown["facts"][3].startswith("the head reads [CLS] alone")
    assert shown["shares"] == [f"{100 * output:.1f}%" for output in reading["outputs"]]
    best, before = (int(np.argmax(found["outputs"])) for found in (reading, full))
    assert shown["answer"] == LABELS[best]
    expected = (
        "the full model's" if index == 0 else "the same answer" if best == before else f"it says {LABELS[before]}"
    )
    assert expected in shown["agreement"]


def test_fewer_words_are_alive_at_three_than_at_one(whole, chromium: Browser):
    chromium.open(whole[2])
    turn(chromium, 0)
    full = chromium.run(STATE)["alive"]
    turn(chromium, 8)
    assert all(cut < all_ for cut, all_ in zip(chromium.run(STATE)["alive"][:3], full[:3], strict=True))


def test_it_opens_where_it_was_asked_and_arrow_keys_turn_it(whole, chromium: Browser):
    chromium.open(whole[2])
    assert chromium.run(STATE)["value"] == "3x"
    chromium.press("Tab")
    assert chromium.run("document.activeElement.id") == "speed"
    chromium.press("ArrowRight")
    assert chromium.run(STATE)["value"] == "3.25x"
    chromium.press("Home")
    assert chromium.run(STATE)["value"] == "1x"
    assert chromium.run("document.getElementById('speed').getAttribute('aria-valuetext')") == "1 times"


def test_a_word_is_followed_through_the_layers(whole, chromium: Browser):
    chromium.open(whole[2])
    x, y = chromium.run("""(() => {
      const box = document.querySelectorAll("#whole span")[1].getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    })()""")
    chromium.click(x, y)
    assert chromium.run("[...document.querySelectorAll('.followed')].map(word => word.textContent)") == ["the"] * 4
    said = chromium.run("document.getElementById('word').innerText")
    depth = whole[1]["readings"][8]["depth"][1]
    assert said.startswith("“the” is ") and (f"eliminated in layer {depth + 1} of 4" in said or depth >= 3)
    chromium.click(5, 5)
    assert chromium.run("document.querySelectorAll('.followed').length") == 0
    assert chromium.run("getComputedStyle(document.getElementById('word')).visibility") == "hidden"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_whole_and_readable_on_any_screen(whole, chromium: Browser, width, dark):
    page = whole[2]
    chromium.open(page, (width, 780), dark=dark, touch=width == 360)
    turn(chromium, 8)
    chromium.run("new Promise(done => setTimeout(done, 300))")  # colours move
    assert chromium.errors == []
    assert [url for url in chromium.requests if not url.startswith("data:")] == [page.as_uri()]
    assert chromium.overflow() == 0
    for selector in (
        "h1",
        ".lead",
        "#answer",
        "#agreement",
        "#summary",
        ".words span:not(.gone)",
        "#layers .facts",
        "#word",
    ):
        assert chromium.contrast(selector) >= 4.5, selector
    assert chromium.contrast(".words .gone") >= 2.5
    assert chromium.run("document.getElementById('speed').getBoundingClientRect().height") >= 44


def test_of_many_labels_all_are_there_and_the_likeliest_first(tmp_path, chromium: Browser):
    names = [f"label {number}" for number in range(20)]
    folder = write_checkpoint(tmp_path / "many", replace(PURPOSE, labels=names), outputs=20)
    explain(folder, tmp_path, TEXT, "speedup=2", "step=1", "--html", str(tmp_path / "page.html"))
    outputs = json.loads((tmp_path / "out" / "explain" / "explain.json").read_text())["readings"][1]["outputs"]
    chromium.open(tmp_path / "page.html", (360, 740), touch=True)
    shown = chromium.run("[...document.querySelectorAll('#outputs .name')].map(name => name.textContent)")
    assert sorted(shown) == sorted(names)
    ranked = [outputs[names.index(name)] for name in shown]
    assert ranked == pytest.approx(sorted(outputs, reverse=True), abs=1e-5)
    assert chromium.run("document.querySelector('.panel').getBoundingClientRect().height") < 0.45 * 740
