"""`latadj predict` over a folder that `latadj export` wrote."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from helpers.answering_models import SENTENCES, write_tagger
from helpers.command_line import run
from helpers.made_once import made_once
from helpers.served_model import write_graph_clock, write_served
from helpers.tiny_embedders import write_exported

import latadj
from latadj.checkpoints.metadata import read_metadata, write_metadata

TEXTS = ["a good film", "the very long story about people is awful", "music", "good good good fine film"] * 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkpoint and its graphs, both measured on one thread by the same clock, and texts."""
    root = tmp_path_factory.mktemp("predict-graphs")
    checkpoint = write_served(root, widths=(0.75, 0.5), whole_length=4.0)
    run("export", f"checkpoint={checkpoint}", f"folder={root / 'x'}", f"output={root / 'graphs'}")
    write_graph_clock(root / "graphs")
    (root / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    return root


def predict(root, folder, checkpoint, *options, expect=0, source="texts.txt"):
    where = [f"checkpoint={root / checkpoint}", f"folder={folder}", f"input={root / source}", "device.threads=1"]
    found = run("predict", *where, "device.name=cpu", *options, expect=expect)
    if expect == 2:
        return found.stderr
    result = json.loads((folder / "predict" / "predict.json").read_text())
    with Path(result["output"]).open() as file:
        return list(csv.DictReader(file)), result


@pytest.mark.parametrize("option", ["speedup=1", "speedup=2.5", "max_drop=1"])
def test_graphs_answer_as_the_checkpoint_does(root, tmp_path, option):
    (made, result), (expected, plain) = (
        predict(root, tmp_path / name, name, option, "all_probabilities=true") for name in ("graphs", "checkpoint")
    )
    assert [row["label"] for row in made] == [row["label"] for row in expected]
    for name in ("probability_bad", "probability_good"):
        assert [float(row[name]) for row in made] == pytest.approx([float(row[name]) for row in expected], abs=1e-5)
    assert result["speedup"] == pytest.approx(plain["speedup"])
    assert (result["environment"]["precision"], result["environment"]["kernel"]) == ("fp32", "onnxruntime")


def test_tags_come_from_graphs_too(tmp_path):
    checkpoint = write_tagger(tmp_path / "checkpoint")
    run("export", f"checkpoint={checkpoint}", f"folder={tmp_path / 'x'}", f"output={tmp_path / 'graphs'}")
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES) + "\n")
    made, expected = (
        predict(tmp_path, tmp_path / f"run-{name}", name, "speedup=1.5", "dial.target=flops", source="in.txt")[0]
        for name in ("graphs", "checkpoint")
    )
    assert [row["tags"] for row in made] == [row["tags"] for row in expected]


def test_a_deadline_goes_by_the_graphs_clock(root, tmp_path):
    rows, result = predict(root, tmp_path / "timed", "graphs", "deadline_ms=60000", "batch_size=4")
    assert len(rows) == len(TEXTS)
    assert result["deadline"]["met_texts"] == len(TEXTS)
    folder = tmp_path / "graphs"
    run("export", f"checkpoint={root / 'checkpoint'}", f"folder={tmp_path / 'x'}", f"output={folder}")
    message = predict(tmp_path, tmp_path / "none", "graphs", "deadline_ms=5", f"input={root / 'texts.txt'}", expect=2)
    assert message.startswith("latadj predict: deadline_ms=5 goes by the time that passes take, and the graphs of")
    assert f"`latadj calibrate runtime=onnxruntime exported={folder} device.threads=1`" in message


def test_a_run_over_graphs_is_not_gone_on_with_over_the_checkpoint(root, tmp_path):
    predict(root, tmp_path / "run", "graphs")
    message = predict(root, tmp_path / "run", "checkpoint", "resume=true", expect=2)
    assert "exists" in message


def test_a_precision_that_the_graphs_do_not_have_is_refused(root, tmp_path):
    message = predict(root, tmp_path / "run", "graphs", "device.precision=int8", expect=2)
    assert "device.precision=int8: the graphs of" in message


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """The run of a model that embeds texts: its checkpoint and its graphs."""
    return made_once(tmp_path_factory, "exported-embedder", write_exported) / "out"


def embed(target, checkpoint, output, *options, expect=0):
    (target / "in.txt").write_text("\n".join(TEXTS[:4]) + "\n")
    where = [f"checkpoint={checkpoint}", f"folder={target / 'run'}", f"input={target / 'in.txt'}", "device.threads=1"]
    found = run("predict", *where, f"output={target / output}", *options, expect=expect)
    return found.stderr if expect else target / output


@pytest.mark.parametrize("options", [["speedup=1"], ["speedup=2.5", "prompt_name=document"]])
def test_graphs_embed_what_the_checkpoint_embeds(embedder, tmp_path, options):
    made, expected = (
        np.load(embed(tmp_path, embedder / name, f"{name}.npy", "dial.target=flops", *options))
        for name in ("exported", "checkpoint")
    )
    assert made.dtype == np.float32
    assert made == pytest.approx(expected, abs=1e-5)


def test_every_output_holds_the_same_vectors_of_graphs(embedder, tmp_path):
    expected = latadj.load(embedder / "checkpoint", speedup=2).encode(TEXTS[:4])
    found = {}
    for name in ("out.parquet", "out.jsonl", "out.csv"):
        path = embed(tmp_path, embedder / "exported", name, "speedup=2", "window=3")
        read = {"parquet": pd.read_parquet, "jsonl": lambda file: pd.read_json(file, lines=True), "csv": pd.read_csv}
        cells = read[path.suffix[1:]](path)["embedding"]
        found[name] = np.array([cell.split() if isinstance(cell, str) else cell for cell in cells], dtype=float)
    assert all(vectors == pytest.approx(expected, abs=1e-5) for vectors in found.values())


def test_what_graphs_of_no_task_embed_is_said_by_the_folder(embedder, tmp_path):
    folder = shutil.copytree(embedder / "exported", tmp_path / "graphs")
    write_metadata(folder, replace(read_metadata(folder), task_spec=None))
    found = np.load(embed(tmp_path, folder, "out.npy", "vectors=float16"))
    assert found == pytest.approx(latadj.load(embedder / "checkpoint").encode(TEXTS[:4]), rel=1e-2, abs=1e-2)
