"""`latadj predict` over a folder that `latadj export` wrote."""

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from helpers.answering_models import SENTENCES, write_tagger
from helpers.command_line import run
from helpers.served_model import write_graph_clock, write_served

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
