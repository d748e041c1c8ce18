"""latadj.Predictor: the answers of `latadj predict`, from an object that pickles as a folder and options."""

import json
import pickle
import subprocess
import sys

import pytest
from helpers.command_line import run
from helpers.served_model import write_served

import latadj
from latadj.inference import predictor as module

TEXTS = ["the film is great", "bad", "a dull and bad film the the is", "good good film"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_served(tmp_path_factory.mktemp("predictor"))


def of_the_command(checkpoint, folder, *options):
    texts = folder / "texts.txt"
    texts.write_text("\n".join(TEXTS) + "\n")
    where = [
        f"checkpoint={checkpoint}",
        f"folder={folder}",
        "device.name=cpu",
        "device.threads=1",
        f"output={folder / 'out.jsonl'}",
    ]
    run("predict", *where, f"input={texts}", *options)
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "row"} for row in rows]


@pytest.mark.parametrize("speedup", [1.0, 2.0])
def test_it_answers_as_the_command_does(checkpoint, tmp_path, speedup):
    predictor = latadj.Predictor(checkpoint, speedup=speedup, threads=1, all_probabilities=True)
    expected = of_the_command(checkpoint, tmp_path, f"speedup={speedup}", "all_probabilities=true")
    for answer, want in zip(predictor(TEXTS), expected, strict=True):
        assert answer["label"] == want["label"]
        assert answer["probabilities"] == pytest.approx(want["probabilities"], abs=1e-5)


def test_it_pickles_without_its_weights_and_answers_alike_elsewhere(checkpoint):
    predictor = latadj.Predictor(checkpoint, speedup=2, threads=1)
    before = predictor(TEXTS)
    pickled = pickle.dumps(predictor)
    assert len(pickled) < 20_000
    code = "import pickle, sys, json; p = pickle.loads(sys.stdin.buffer.read()); "
    code += f"print(json.dumps(p({TEXTS!r})))"
    found = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True)
    for answer, want in zip(json.loads(found.stdout.splitlines()[-1]), before, strict=True):
        assert answer["label"] == want["label"]
        assert answer["probability"] == pytest.approx(want["probability"], abs=1e-5)


def test_copies_open_the_model_once(checkpoint, monkeypatch):
    opened = []
    monkeypatch.setattr(module, "open_model", lambda config: opened.append(config) or real(config))
    real, pickled = module_open(), pickle.dumps(latadj.Predictor(checkpoint, speedup=1.5))
    assert pickle.loads(pickled)(TEXTS[:1]) == pickle.loads(pickled)(TEXTS[:1])
    assert len(opened) == 1


def module_open():
    from latadj.inference.streams.opening import open_model

    return open_model


def test_a_broken_text_is_refused_or_skipped(checkpoint):
    predictor = latadj.Predictor(checkpoint)
    with pytest.raises(ValueError, match=r"texts\[1\]: text is empty"):
        predictor(["good", " "])
    with pytest.raises(ValueError, match=r"texts\[0\]: 2 texts, and the model reads 1"):
        predictor([("good", "bad")])
    first, second, third = predictor(["good", None, "bad"], on_error="skip")
    assert (second, [first, third]) == ({}, predictor(["good", "bad"]))
    assert predictor([]) == []


def test_a_text_by_itself_is_not_taken_for_a_list_of_letters(checkpoint):
    with pytest.raises(ValueError, match=r"texts='a good film': expected a list of texts"):
        latadj.Predictor(checkpoint)("a good film")


def test_options_that_do_not_fit_are_refused(checkpoint, tmp_path):
    for options, words in [
        ({"speedup": 2, "max_drop": 1}, "give one of them"),
        ({"speedup": 0.5}, "expected a number >= 1"),
        ({"precision": "fp8"}, "precision=fp8"),
        ({"batch_size": 0}, "batch_size=0"),
    ]:
        with pytest.raises(ValueError, match=words):
            latadj.Predictor(checkpoint, **options)
    with pytest.raises(ValueError, match="none"):
        latadj.Predictor(tmp_path / "none")(["good"])
