"""`latadj.calibrate` makes a dial for a model in memory."""

import pytest
import torch
from helpers.tiny_language_models import tiny_tokenizer
from helpers.tiny_models import near, tiny

import latadj
from latadj.calibration import calibrate_model, steps
from latadj.calibration.latency_fit import measure
from latadj.checkpoints.metadata import read_metadata
from latadj.devices.device import place
from latadj.elimination.attach import dial_of
from latadj.kernels.linear import KernelSpec

TEXTS = [f"the speech was long and nobody listened {' '.join(['it', 'word25'] * length)}" for length in range(12)]
MODELS = [("bert", "classifier"), ("gpt2", "classifier"), ("distilbert", "tagger"), ("llama", "language")]


@pytest.fixture
def quick_clock(monkeypatch):
    """One kernel and few rounds."""
    monkeypatch.setattr(calibrate_model, "fastest_kernel", lambda model, precision, device: KernelSpec("fp32", "plain"))
    monkeypatch.setattr(steps, "measure", lambda *args, **options: measure(*args, **(options | {"rounds": 2})))


@pytest.mark.parametrize(("architecture", "head"), MODELS)
def test_a_model_in_memory_gets_a_dial(architecture, head):
    model, tokenizer = tiny(architecture, head), tiny_tokenizer()
    dial = latadj.calibrate(model, tokenizer, TEXTS, max_speedup=3)
    assert dial_of(model) == dial
    assert (dial.target, dial.max_speedup, dial.layers) == ("flops", 3, 4)
    assert all(0 < share <= 1 for share in dial.layer_acc)
    assert not latadj.profile_of(model).eliminates
    latadj.set_speedup(model, 1.5)
    assert latadj.speedup_of(model) == pytest.approx(1.5, rel=0.15)
    assert latadj.profile_of(model) == dial.profile(1.5)
    with latadj.at_speedup(model, 1):
        assert not latadj.profile_of(model).eliminates


def test_a_search_adds_its_profiles():
    dial = latadj.calibrate(tiny("bert"), tiny_tokenizer(), TEXTS, trials=2, max_speedup=2)
    assert dial.profile_type == "searched"
    assert {anchor.speedup for anchor in dial.anchors} <= {1.5, 2.0}


@pytest.mark.parametrize(
    ("head", "texts", "expected"),
    [
        ("classifier", TEXTS, [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]),
        ("classifier", [(text, "the speech") for text in TEXTS[:3]], [2, 4, 5]),
        ("tagger", TEXTS[:2], [1, 2]),
        ("language", TEXTS, None),
    ],
)
def test_a_search_heeds_the_texts_cut_to_a_few_words(head, texts, expected, monkeypatch):
    searched = []

    def add_search(dial, model, examples, *, short, **options):
        searched.append(None if short is None else short.lengths.tolist())
        return dial

    monkeypatch.setattr(steps, "add_search", add_search)
    latadj.calibrate(tiny("llama" if head == "language" else "bert", head), tiny_tokenizer(), texts, trials=1)
    assert searched == [expected]


def test_pairs_of_texts_are_read_as_pairs():
    pairs = [(text, "the speech") for text in TEXTS]
    alone, together = (latadj.calibrate(tiny("bert"), tiny_tokenizer(), texts).lengths for texts in (TEXTS, pairs))
    assert together == tuple(length + 2 for length in alone)


def test_longer_texts_are_cut():
    assert max(latadj.calibrate(tiny("bert"), tiny_tokenizer(), TEXTS, max_length=9).lengths) == 9


def test_a_clock_marks_the_dial_in_time_and_is_saved_with_the_model(quick_clock, tmp_path):
    model, tokenizer = tiny("bert"), tiny_tokenizer()
    dial = latadj.calibrate(model, tokenizer, TEXTS, clock=True, batch=4)
    assert (dial.target, dial.latency.batch) == ("latency", 4)
    latadj.save(model, tokenizer, tmp_path / "saved")
    devices = read_metadata(tmp_path / "saved").devices
    assert devices[place(model.device)].serving["fp32"].models == (dial.latency,)
    served, _ = latadj.load(tmp_path / "saved")
    assert dial_of(served) == dial
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    speedup = dial.reach()
    with torch.no_grad(), latadj.at_speedup(model, speedup), latadj.at_speedup(served, speedup):
        assert near([served(ids).logits], [model(ids).logits])


@pytest.mark.parametrize(
    ("model", "texts", "options", "message"),
    [
        ("reader", TEXTS, {}, "a BertForQuestionAnswering cannot be calibrated on texts alone: expected a sequence"),
        ("classifier", [], {}, "texts: expected a list of texts"),
        ("classifier", "one text", {}, "texts: expected a list of texts"),
        ("classifier", [""], {}, "texts: no text has a token"),
        ("classifier", TEXTS, {"max_speedup": 0.5}, "max_speedup=0.5: expected a number >= 1"),
        ("classifier", TEXTS, {"trials": -1}, "trials=-1, batch=32: expected trials >= 0"),
        ("classifier", TEXTS, {"clock": True, "precision": "fp8"}, "precision=fp8: expected one of fp32"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(model, texts, options, message):
    with pytest.raises(ValueError, match=message):
        latadj.calibrate(tiny("bert", model), tiny_tokenizer(), texts, **options)


def test_a_served_model_is_not_calibrated(tmp_path):
    model, tokenizer = tiny("bert"), tiny_tokenizer()
    latadj.calibrate(model, tokenizer, TEXTS)
    latadj.save(model, tokenizer, tmp_path / "saved")
    with pytest.raises(ValueError, match="loaded to serve and cannot be calibrated: load it with precision=None"):
        latadj.calibrate(*latadj.load(tmp_path / "saved"), TEXTS)
