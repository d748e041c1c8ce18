"""latadj explain on a tagger and on a model for question answering, through the real command line."""

import json

import pytest
import torch
from helpers import tagging_data as tagging
from helpers.answering_models import SENTENCES, write_reader, write_tagger
from helpers.browser import Browser
from helpers.command_line import run

import latadj

SENTENCE = "Anna Berg lives in New Haven ."
QUESTION, CONTEXT = "which word praises ?", "the film is a funny and clever story about people"


def explain(folder, root, *arguments, expect=0):
    where = [f"checkpoint={folder}", f"folder={root / 'run'}", "device.name=cpu", "device.threads=1"]
    shown = run("explain", *arguments, *where, expect=expect).output
    return shown if expect else (shown, json.loads((root / "run" / "explain" / "explain.json").read_text()))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return write_tagger(tmp_path_factory.mktemp("tagger") / "checkpoint")


def test_each_word_has_its_tag_and_the_layers_that_it_leaves(tagger, tmp_path):
    shown, result = explain(tagger, tmp_path, SENTENCE, "speedup=3")
    words = [word["text"] for word in result["words"]]
    assert words == ["[CLS]", *SENTENCE.split(), "[SEP]"]
    assert (result["type"], result["pooled"], result["readings"][0]["outputs"]) == ("token_classification", None, [])
    model, tokenizer = latadj.load(tagger)
    encoded = tokenizer(SENTENCE.split(), is_split_into_words=True, return_tensors="pt")
    firsts = [encoded.word_ids().index(word) for word in range(len(SENTENCE.split()))]
    for reading in result["readings"]:
        with torch.inference_mode(), latadj.at_speedup(model, reading["speedup"]):
            best = model(**encoded).logits[0].argmax(-1)
        assert reading["tags"] == ["", *(tagging.LABELS[int(best[first])] for first in firsts), ""]
    assert min(result["readings"][1]["depth"]) < max(result["readings"][1]["depth"]) == 4
    named = [(word, tag) for word, tag in zip(words, reading["tags"], strict=True) if tag not in ("", "O")]
    assert len(named) > 1
    assert f"3x of minilm on mine: {', '.join(f'{word} {tag}' for word, tag in named)}" in shown


@pytest.mark.parametrize("protected", [0, 5])
def test_a_question_is_answered_out_of_its_context(tmp_path, protected):
    folder = write_reader(tmp_path / "checkpoint", protected=protected)
    shown, result = explain(folder, tmp_path, QUESTION, "--text2", CONTEXT, "speedup=2")
    for reading in result["readings"]:
        answer = reading["answer"]
        assert CONTEXT[answer["start"] : answer["end"]] == answer["text"] != ""
        marked = [result["words"][place]["text"] for place in reading["answering"]]
        assert " ".join(marked) == answer["text"]
    assert f"mine: {answer['text']} {100 * answer['probability']:.1f}%" in shown
    asked = [depth for word, depth in zip(result["words"], reading["depth"], strict=True) if word["part"] == 0]
    assert (min(asked[:5]) == 4) == bool(protected)  # [CLS] and the question's words
    # The same as `predict` gives.
    (tmp_path / "in.jsonl").write_text(json.dumps({"question": QUESTION, "context": CONTEXT}))
    where = [f"checkpoint={folder}", f"folder={tmp_path / 'run'}", "device.name=cpu", "device.threads=1"]
    run("predict", *where, f"input={tmp_path / 'in.jsonl'}", f"output={tmp_path / 'out.jsonl'}", "speedup=2")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["answer"], row["start"], row["end"]) == (answer["text"], answer["start"], answer["end"])
    assert row["score"] == pytest.approx(answer["score"], abs=1e-4)


def test_a_question_without_its_context_is_refused(tmp_path):
    folder = write_reader(tmp_path / "checkpoint")
    message = explain(folder, tmp_path, QUESTION, expect=2)
    assert "reads a pair (question and context), and there is one text: give the second with --text2" in message


def test_words_beyond_the_window_are_named_and_have_no_tag(tagger, tmp_path):
    shown, result = explain(tagger, tmp_path, SENTENCES[2], "speedup=2")
    unread = [place for place, word in enumerate(result["words"]) if not word["pieces"]]
    assert unread and {result["readings"][0]["tags"][place] for place in unread} == {""}
    assert f"not read: the last {len(unread)} words, beyond 24 tokens" in shown


def test_the_page_marks_what_was_tagged(tagger, tmp_path, chromium: Browser):
    _, result = explain(tagger, tmp_path, SENTENCE, "speedup=2", "step=1", "--html", str(tmp_path / "page.html"))
    reading = result["readings"][result["selected"]]
    chromium.open(tmp_path / "page.html")
    assert chromium.errors == []
    marks = chromium.run("[...document.querySelectorAll('#whole span')].map(word => word.dataset.mark || '')")
    assert marks == ["" if tag == "O" else tag for tag in reading["tags"]]
    assert any(marks)
    answer = chromium.run("document.getElementById('answer').textContent")
    assert answer.startswith(f"{SENTENCE.split()[0]} {marks[1]}" if marks[1] else "")
    said = chromium.run("document.getElementById('agreement').textContent")
    assert ("the same answer" in said) == (reading["tags"] == result["readings"][0]["tags"])
