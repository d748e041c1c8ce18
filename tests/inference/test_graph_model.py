"""Exported graphs that `latadj.load` gives as a model."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from helpers.answering_models import write_reader, write_tagger
from helpers.command_line import run
from helpers.served_model import write_graph_clock, write_served
from transformers import pipeline

import latadj
from latadj.checkpoints.metadata import read_metadata, write_metadata
from latadj.elimination.attach import dial_of
from latadj.runtime.place import cpu_threads

TEXTS = ["a good film", "the very long story about people is awful", "music", "good good good fine film"]


def exported(checkpoint, *options):
    target = checkpoint.parent / f"{checkpoint.name}-{len(options)}-graphs"
    run("export", f"checkpoint={checkpoint}", f"folder={target.parent / 'x'}", f"output={target}", *options)
    return target


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A classifier whose dial has two levels and leaves short texts whole."""
    return write_served(tmp_path_factory.mktemp("graphs"), widths=(0.75, 0.5), whole_length=4.0)


@pytest.fixture(scope="module")
def graphs(checkpoint):
    """Its graphs, measured on all CPUs."""
    folder = exported(checkpoint)
    write_graph_clock(folder, cpu_threads(None))
    return folder


def outputs(folder, texts, profile, side="right"):
    model, tokenizer = latadj.load(folder, speedup=1)
    tokenizer.padding_side = side
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode(), latadj.elimination.current_setting.at_profile(model, profile):
        return batch["attention_mask"].bool(), model(**batch)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("speedup", [1, 1.6, 2.5])
def test_a_classifiers_graphs_give_what_the_checkpoint_gives(checkpoint, graphs, speedup, side):
    profile = read_metadata(checkpoint).dial.profile(speedup)
    _, made = outputs(graphs, TEXTS, profile, side)
    _, expected = outputs(checkpoint, TEXTS, profile)
    torch.testing.assert_close(made.logits, expected.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("write", "names"), [(write_tagger, ["logits"]), (write_reader, ["start_logits", "end_logits"])]
)
def test_what_is_said_of_each_token_stands_at_its_place(tmp_path, write, names, side):
    checkpoint = write(tmp_path / "checkpoint")
    profile = read_metadata(checkpoint).dial.profile(1.5)
    real, made = outputs(exported(checkpoint), TEXTS, profile, side)
    there, expected = outputs(checkpoint, TEXTS, profile)
    for name in names:
        torch.testing.assert_close(made[name][real], expected[name][there], atol=1e-5, rtol=0)


def test_the_dial_is_turned_like_that_of_any_model(graphs):
    model, tokenizer = latadj.load(graphs, speedup=2)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert latadj.speedup_of(model) == pytest.approx(2, rel=0.05)

    def at(speedup):
        with latadj.at_speedup(model, speedup):
            return model(**batch).logits

    alone = [at(speedup) for speedup in (1, 2, 3)]
    assert not torch.equal(alone[0], alone[2])
    with ThreadPoolExecutor(3) as pool:
        for _ in range(5):
            together = list(pool.map(at, (1, 2, 3)))
            assert all(map(torch.equal, together, alone))
    latadj.set_speedup(model, 3)
    assert torch.equal(model(**batch).logits, alone[2])


def test_a_pipeline_of_transformers_runs_graphs(graphs, checkpoint):
    made, plain = (
        pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")(TEXTS)
        for model, tokenizer in (latadj.load(graphs), latadj.load(checkpoint, precision=None))
    )
    assert [one["label"] for one in made] == [one["label"] for one in plain]
    assert [one["score"] for one in made] == pytest.approx([one["score"] for one in plain], abs=1e-5)


def test_speedups_are_in_time_where_the_graphs_were_measured(graphs, tmp_path, caplog):
    model, _ = latadj.load(graphs, max_drop=1)
    assert dial_of(model).target == "latency"
    deadline = latadj.Deadline(model, ms=60_000)
    assert [len(places) for places in deadline.batches([5, 9, 7], most=2)] == [2, 1]
    assert "FLOPs" not in caplog.text
    unmeasured = shutil.copytree(graphs, tmp_path / "unmeasured")
    write_metadata(unmeasured, replace(read_metadata(unmeasured), devices={}))
    model, _ = latadj.load(unmeasured, speedup=2)
    assert dial_of(model).target == "flops"
    assert f"run `latadj calibrate runtime=onnxruntime exported={unmeasured}" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": None}, "precision=None: .* holds graphs; load the checkpoint that they were made of"),
        ({"precision": "bf16"}, "precision=bf16: the graphs of .* are fp32"),
        ({"head": "classification"}, "head=classification: .* holds graphs"),
        ({"device": "cuda"}, "device=cuda: graphs run on the CPU; load the checkpoint"),
        ({"speedup": 90}, "speedup=90"),
    ],
)
def test_what_graphs_do_not_do_is_refused(graphs, options, words):
    with pytest.raises(ValueError, match=words):
        latadj.load(graphs, **options)


def test_graphs_are_not_saved_as_a_model(graphs, tmp_path):
    model, _ = latadj.load(graphs)
    with pytest.raises(ValueError, match=re.escape(f"{graphs} holds graphs, which have no weights to save")):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_graph_of_one_speedup_has_no_dial_to_turn(checkpoint):
    with pytest.raises(ValueError, match="holds a graph of one speedup, 2x, and load turns a dial"):
        latadj.load(exported(checkpoint, "speedup=2"))
