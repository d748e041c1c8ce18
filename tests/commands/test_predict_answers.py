"""latadj predict on taggers and on models for question answering, beside what plain transformers computes."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import answer_data as quiz
from helpers import tagging_data as tagging
from helpers.answering_models import READ, SENTENCES, write_reader, write_tagger
from helpers.command_line import run
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification, AutoTokenizer

from latadj.benchmark.kernel_selection import kernels
from latadj.checkpoints.metadata import Device, Serving, read_metadata, write_metadata
from latadj.devices.device import place
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.inference.deadline import Deadline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return write_tagger(tmp_path_factory.mktemp("tagger") / "checkpoint")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return write_reader(tmp_path_factory.mktemp("reader") / "checkpoint")


@pytest.fixture(scope="module")
def questions():
    asked = [article["paragraphs"][0] for article in quiz.articles(9, seed=2)]
    return [{"question": one["qas"][0]["question"], "context": f"  {one['context']}\n"} for one in asked]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def predict(folder, root, source, *options, output="out.jsonl", expect=0):
    where = [f"checkpoint={folder}", f"folder={root / 'run'}", "device.name=cpu", "device.threads=1"]
    found = run("predict", *where, f"input={source}", f"output={root / output}", *options, expect=expect)
    if expect:
        return found.output
    path = root / output
    if path.suffix == ".csv":
        return list(csv.DictReader(path.open()))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_word_has_the_tag_of_its_first_token(tagger, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES) + "\n")
    rows = predict(tagger, tmp_path, tmp_path / "in.txt")
    assert [row["words"] for row in rows] == [sentence.split() for sentence in SENTENCES]
    assert all(len(row["words"]) == len(row["tags"]) == len(row["probabilities"]) for row in rows)
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(tagger), AutoTokenizer.from_pretrained(tagger)
    for row in (rows[0], rows[1], rows[3]):
        encoded = tokenizer(row["words"], is_split_into_words=True, return_tensors="pt")
        with torch.inference_mode():
            shares = model(**encoded).logits[0].softmax(-1)
        firsts = [encoded.word_ids().index(word) for word in range(len(row["words"]))]
        assert row["tags"] == [tagging.LABELS[int(shares[first].argmax())] for first in firsts]
        assert row["probabilities"] == pytest.approx([float(shares[first].max()) for first in firsts], abs=1e-5)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_words_are_also_read_as_lists_and_written_to_csv_between_blanks(tagger, tmp_path, kind):
    words = [sentence.split() for sentence in SENTENCES]
    if kind == "jsonl":
        source = jsonl(tmp_path / "in.jsonl", [{"nr": n, "tokens": one} for n, one in enumerate(words)])
    else:
        source = tmp_path / "in.parquet"
        pd.DataFrame({"nr": range(4), "tokens": words}).to_parquet(source)
    rows = predict(tagger, tmp_path, source, "id=nr", "speedup=2", output="out.csv")
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["words"] for row in rows] == SENTENCES
    assert [len(row["tags"].split()) for row in rows] == [len(one) for one in words]
    assert [len(row["probabilities"].split()) for row in rows] == [len(one) for one in words]


def test_a_word_with_a_blank_and_a_text_without_an_end_are_broken_rows(tagger, tmp_path, monkeypatch):
    monkeypatch.setattr("latadj.inference.streams.rows.MOST_CHARACTERS", 300)
    rows = [["in", "New Haven"], [], ["Oslo", 3], ["in"] * 200, ["Oslo"]]
    source = jsonl(tmp_path / "in.jsonl", [{"tokens": words} for words in rows])
    assert [row["row"] for row in predict(tagger, tmp_path, source)] == [5]
    broken = pd.read_csv(tmp_path / "out.jsonl.broken.csv")["reason"].tolist()
    assert broken == [
        "tokens word 2 holds a blank: words are given one by one",
        "tokens is empty",
        "tokens word 2 holds int, not text",
        "tokens has 599 characters, and 300 are read of a text at most: divide it",
    ]


def test_an_answer_is_cut_out_of_its_context_and_the_likeliest_span(reader, tmp_path, questions):
    rows = predict(reader, tmp_path, jsonl(tmp_path / "in.jsonl", questions), "max_length=60")
    model, tokenizer = AutoModelForQuestionAnswering.from_pretrained(reader), AutoTokenizer.from_pretrained(reader)
    for row, asked in zip(rows, questions, strict=True):
        assert set(row) == {"row", "answer", "start", "end", "probability", "score"}
        assert asked["context"][row["start"] : row["end"]] == row["answer"] != ""
        assert 0 < row["probability"] <= 1
        encoded = tokenizer(asked["question"], asked["context"], return_tensors="pt", return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")[0].tolist()
        with torch.inference_mode():
            found = model(**encoded)
        start, end = found.start_logits[0].numpy(), found.end_logits[0].numpy()
        inside = [place for place, part in enumerate(encoded.sequence_ids(0)) if part == 1]
        pairs = [(a, b) for a in inside for b in inside if 0 <= b - a < READ.max_answer_length]
        scores = np.array([start[a] + end[b] for a, b in pairs])
        first, last = pairs[int(scores.argmax())]
        assert (row["start"], row["end"]) == (offsets[first][0], offsets[last][1])
        assert row["score"] == pytest.approx(scores.max(), abs=1e-4)
        listed = np.exp(np.sort(scores)[-READ.n_best :])
        assert row["probability"] == pytest.approx(listed[-1] / listed.sum(), abs=1e-4)


def test_a_question_without_an_answer_has_no_span(tmp_path, questions):
    reader = write_reader(tmp_path / "checkpoint", "squad_v2_f1")
    source = jsonl(tmp_path / "in.jsonl", questions)
    silent = predict(reader, tmp_path, source, "null_threshold=-1000")
    spoken = predict(reader, tmp_path, source, "null_threshold=1000", output="out.csv")
    assert {(row["answer"], row["start"], row["end"]) for row in silent} == {("", None, None)}
    assert all(row["answer"] and row["start"] for row in spoken)


@pytest.mark.parametrize("which", ["tagger", "reader"])
def test_a_run_that_stopped_goes_on_with_the_same_bytes(which, request, tmp_path, questions):
    rows = questions if which == "reader" else [{"tokens": sentence.split()} for sentence in SENTENCES * 2]
    folder, broken = request.getfixturevalue(which), dict.fromkeys(rows[0])
    source = jsonl(tmp_path / "in.jsonl", [*rows[:5], broken, *rows[5:]])
    options = ["speedup=2", "window=2"]
    whole = predict(folder, tmp_path, source, *options, output="whole.jsonl")
    assert [row["row"] for row in whole] == [*range(1, 6), *range(7, len(rows) + 2)]
    stopped = predict(folder, tmp_path, source, *options, "on_error=stop", expect=2)
    assert "resume=true goes on from here" in stopped
    assert json.loads((tmp_path / "out.jsonl.state.json").read_text())["counts"]["read"] == 4
    predict(folder, tmp_path, source, *options, "resume=true")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_folder_of_transformers_alone_says_what_it_is_for(tagger, reader, tmp_path, questions):
    source = jsonl(tmp_path / "in.jsonl", questions)
    for folder, width in ((tagger, 3), (reader, 5)):
        plain = tmp_path / folder.parent.name
        plain.mkdir()
        for file in folder.iterdir():
            if file.name != "latadj.json":
                (plain / file.name).symlink_to(file)
        rows = predict(plain, tmp_path, source, *(["text=context"] if width == 3 else []), output=f"{width}.jsonl")
        assert [len(row) for row in rows] == [1 + width] * len(questions)


def test_a_deadline_counts_each_window_of_a_sentence(tagger, tmp_path, monkeypatch):
    monkeypatch.setattr(Deadline, "warm_up", lambda *given, **options: None)
    kernel, ramp = kernels("fp32", CPU)[0], Ramp(1e-3, (1.0, 32.0), (1e-3,))
    metadata = read_metadata(tagger)
    clock = LatencyModel(batch=4, entering=ramp, choosing=ramp, leaving=ramp, last=ramp, outside=ramp)
    metadata.devices = {place(CPU): Device(serving={"fp32": Serving(kernel, (clock,))})}
    folder = shutil.copytree(tagger, tmp_path / "checkpoint")
    write_metadata(folder, metadata)
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES) + "\n")
    rows = predict(folder, tmp_path, tmp_path / "in.txt", "deadline_ms=1e6")
    assert [len(row["tags"]) for row in rows] == [len(sentence.split()) for sentence in SENTENCES]
    counted = json.loads((tmp_path / "run" / "predict" / "predict.json").read_text())["deadline"]
    assert counted["met_texts"] == counted["texts"] > len(SENTENCES)


@pytest.mark.parametrize(
    ("which", "options", "message"),
    [
        ("tagger", ["all_probabilities=true"], "all_probabilities=true, and checkpoint"),
        ("tagger", ["null_threshold=1"], "null_threshold=1 is for question answering, and checkpoint"),
        ("reader", ["null_threshold=1"], "null_threshold=1: this model answers each question; leave it out"),
        ("reader", ["deadline_ms=9"], "is for question answering, which takes speedup="),
        ("reader", ["text=context"], "this model reads 2 text columns (question, context), not 1"),
        ("reader", ["max_length=12"], "holds 3 tokens of context, which must be more than doc_stride=8"),
    ],
)
def test_what_cannot_work_is_refused_by_name(which, options, message, request, tmp_path, questions):
    source = jsonl(tmp_path / "in.jsonl", questions)
    assert message in predict(request.getfixturevalue(which), tmp_path, source, *options, expect=2)
    assert not (tmp_path / "out.jsonl").exists()
