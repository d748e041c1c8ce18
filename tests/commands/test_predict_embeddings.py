"""latadj predict on a model that embeds texts, beside what sentence-transformers computes."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.tiny_embedders import TEXTS, write_dialled, write_embedder
from pyarrow import parquet
from sentence_transformers import SentenceTransformer, quantize_embeddings

import latadj
from latadj.benchmark.kernel_selection import kernels
from latadj.checkpoints.metadata import Device, Serving, read_metadata, write_metadata
from latadj.devices.device import place
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.inference.deadline import Deadline

CPU = torch.device("cpu")
PROMPTS = {"query": "the film ", "document": "a story "}
LINES = [*TEXTS, *(" ".join([*toy.GOOD[:3], text]) for text in TEXTS)]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """A checkpoint with prompts, and a task of pairs."""
    root = tmp_path_factory.mktemp("embedder")
    prompts = json.dumps({"prompts": PROMPTS, "default_prompt_name": None})
    (write_embedder(root / "model") / "config_sentence_transformers.json").write_text(prompts)
    return write_dialled(root / "checkpoint", root / "model")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("\n".join([*LINES[:5], "", *LINES[5:]]) + "\n")
    return path


def predict(folder, root, source, *options, output="out.npy", expect=0):
    where = [f"checkpoint={folder}", f"folder={root / 'run'}", "device.name=cpu", "device.threads=1"]
    found = run("predict", *where, f"input={source}", f"output={root / output}", *options, expect=expect)
    return found.output if expect else root / output


def result(root):
    return json.loads((root / "run" / "predict" / "predict.json").read_text())


def encoded(folder, texts=LINES, **options):
    return SentenceTransformer(str(folder), device="cpu").encode(texts, **options)


def test_vectors_are_those_of_encode_and_each_says_its_row(embedder, source, tmp_path):
    found = np.load(predict(embedder, tmp_path, source, "window=7"), mmap_mode="r")
    assert found.dtype == np.float32
    assert found == pytest.approx(encoded(embedder), abs=1e-5)
    rows = pd.read_csv(tmp_path / "out.npy.rows.csv")["row"].tolist()
    assert rows == [*range(1, 6), *range(7, len(LINES) + 2)]
    assert pd.read_csv(tmp_path / "out.npy.broken.csv")["row"].tolist() == [6]
    assert result(tmp_path)["vectors"] == {
        **{"type": "float32", "rows": f"{tmp_path}/out.npy.rows.csv"},
        **{"ranges": None, "ranges_of_texts": None, "clipped": None},
    }


def test_a_speedup_gives_what_load_gives_at_it(embedder, source, tmp_path):
    found = np.load(predict(embedder, tmp_path, source, "speedup=2", "dial.target=flops"))
    model = latadj.load(embedder, speedup=2)
    assert found == pytest.approx(model.encode(LINES), abs=1e-5)
    assert found != pytest.approx(encoded(embedder), abs=1e-3)


@pytest.mark.parametrize("numbers", ["float16", "int8", "uint8", "binary", "ubinary"])
def test_numbers_of_fewer_bits_are_those_of_sentence_transformers(numbers, embedder, source, tmp_path):
    options = [f"vectors={numbers}", "batch_size=4", "window=7"]
    full = np.load(predict(embedder, tmp_path, source, *options[1:], output="full.npy"))
    found = np.load(predict(embedder, tmp_path, source, *options))
    vectors = result(tmp_path)["vectors"]
    if numbers == "float16":
        assert np.array_equal(found, full.astype(np.float16))
    elif "binary" in numbers:
        assert np.array_equal(found, quantize_embeddings(full, numbers))
    else:
        first = full[:6]  # a window of seven lines, one of them empty
        ranges = np.load(vectors["ranges"])
        assert np.array_equal(ranges, [first.min(axis=0), first.max(axis=0)])
        assert np.array_equal(found, quantize_embeddings(full, numbers, ranges=ranges))
        assert vectors["clipped"] == pytest.approx(((full < ranges[0]) | (full > ranges[1])).mean())
    assert (tmp_path / "out.npy.ranges.npy").exists() == (numbers in ("int8", "uint8"))


def test_other_texts_are_spread_over_the_ranges_of_the_first(embedder, source, tmp_path):
    predict(embedder, tmp_path, source, "vectors=int8", output="documents.parquet")
    ranges = tmp_path / "documents.parquet.ranges.npy"
    (tmp_path / "queries.txt").write_text(LINES[3] + "\n")
    found = predict(embedder, tmp_path, tmp_path / "queries.txt", "vectors=int8", f"ranges={ranges}")
    documents = parquet.read_table(tmp_path / "documents.parquet")
    # A batch of another size rounds the last digit of a float otherwise, which may be the next of 256 steps.
    assert np.load(found)[0] == pytest.approx(documents["embedding"][3].as_py(), abs=1)
    assert not (tmp_path / "out.npy.ranges.npy").exists()
    assert result(tmp_path)["vectors"]["ranges"] == str(ranges)


def test_parquet_in_and_out_keeps_whole_numbers_as_ids(embedder, tmp_path):
    pd.DataFrame({"nr": range(100, 124), "said": LINES}).to_parquet(tmp_path / "in.parquet")
    predict(embedder, tmp_path, tmp_path / "in.parquet", "id=nr", "text=said", "window=10", output="out.parquet")
    file = parquet.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(place).num_rows for place in range(3)] == [10, 10, 4]
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert frame["id"].tolist() == list(range(100, 124))
    assert np.stack(frame["embedding"]) == pytest.approx(encoded(embedder), abs=1e-5)


def test_lines_hold_the_same(embedder, source, tmp_path):
    expected = encoded(embedder)
    lines = predict(embedder, tmp_path, source, output="out.jsonl").read_text().splitlines()
    assert np.array([json.loads(line)["embedding"] for line in lines]) == pytest.approx(expected, abs=1e-5)
    table = pd.read_csv(predict(embedder, tmp_path, source, output="out.csv"))
    assert np.array([cell.split() for cell in table["embedding"]], dtype=float) == pytest.approx(expected, abs=1e-5)


def test_a_prompt_of_the_models_own_is_put_before_each_text(embedder, source, tmp_path):
    found = np.load(predict(embedder, tmp_path, source, "prompt_name=query"))
    assert found == pytest.approx(encoded(embedder, prompt_name="query"), abs=1e-5)
    assert found != pytest.approx(encoded(embedder), abs=1e-3)


@pytest.mark.parametrize(
    ("output", "options"),
    [
        *(("out.npy", ["dimensions=8"]), ("out.parquet", ["dimensions=8"])),
        *(("out.npy", ["task=embedding", "task.dimensions=8"]), ("out.npy", ["task.dimensions=20", "dimensions=8"])),
    ],
)
def test_the_first_numbers_alone_are_written(embedder, source, tmp_path, output, options):
    path = predict(embedder, tmp_path, source, *options, output=output)
    found = np.load(path) if output == "out.npy" else np.stack(pd.read_parquet(path)["embedding"])
    assert found == pytest.approx(encoded(embedder, truncate_dim=8), abs=1e-5)


def test_a_model_that_gives_its_first_numbers_only_has_them_written(embedder, source, tmp_path):
    folder = shutil.copytree(embedder, tmp_path / "checkpoint")
    model = latadj.load(folder, precision=None)
    model.truncate_dim = 12
    latadj.save(model, model.tokenizer, folder)
    assert latadj.load(folder).truncate_dim == 12
    found = np.load(predict(folder, tmp_path, source))
    assert found == pytest.approx(encoded(embedder, truncate_dim=12), abs=1e-5)
    assert np.load(predict(folder, tmp_path, source, "dimensions=20", "overwrite=true")).shape[1] == 20


@pytest.mark.parametrize("output", ["out.npy", "out.parquet"])
def test_a_run_that_stopped_goes_on_with_the_same_bytes(embedder, source, tmp_path, output):
    options = ["vectors=int8", "window=4", "speedup=2"]
    whole = predict(embedder, tmp_path, source, *options, output=f"whole-{output}")
    stopped = predict(embedder, tmp_path, source, *options, "on_error=stop", output=output, expect=2)
    assert "resume=true goes on from here" in stopped
    assert json.loads((tmp_path / f"{output}.state.json").read_text())["counts"]["read"] == 4
    assert "vectors was int8 and is uint8" in predict(
        *(embedder, tmp_path, source, "vectors=uint8", *options[1:], "resume=true"), output=output, expect=2
    )
    predict(embedder, tmp_path, source, *options, "resume=true", output=output)
    for name in ("", ".ranges.npy", *([".rows.csv"] if output.endswith("npy") else [])):
        assert (tmp_path / f"{output}{name}").read_bytes() == whole.with_name(f"{whole.name}{name}").read_bytes()


def test_a_file_without_texts_gives_no_vectors_of_the_right_length(embedder, tmp_path):
    (tmp_path / "in.txt").write_text("")
    assert np.load(predict(embedder, tmp_path, tmp_path / "in.txt", "vectors=binary")).shape == (0, 4)


def test_the_batches_of_a_deadline_give_the_same_vectors(embedder, source, tmp_path, monkeypatch):
    monkeypatch.setattr(Deadline, "warm_up", lambda *given, **options: None)
    kernel, ramp = kernels("fp32", CPU)[0], Ramp(1e-3, (1.0, 32.0), (1e-3,))
    folder = shutil.copytree(embedder, tmp_path / "checkpoint")
    metadata = read_metadata(folder)
    clock = LatencyModel(batch=4, entering=ramp, choosing=ramp, leaving=ramp, last=ramp, outside=ramp)
    metadata.devices = {place(CPU): Device(serving={"fp32": Serving(kernel, (clock,))})}
    write_metadata(folder, metadata)
    found = np.load(predict(folder, tmp_path, source, "deadline_ms=1e6"))
    assert found == pytest.approx(encoded(embedder), abs=1e-5)
    assert result(tmp_path)["deadline"]["met_texts"] == len(LINES)


def test_standard_output_holds_lines(embedder, source, tmp_path):
    where = [f"checkpoint={embedder}", f"folder={tmp_path / 'run'}", "device.name=cpu", "device.threads=1"]
    shown = run("predict", *where, f"input={source}", "output=-", "vectors=binary").stdout.splitlines()
    assert shown[0] == "row,embedding"
    assert [len(line.split(",")[1].split()) for line in shown[1:]] == [4] * len(LINES)


def test_a_plain_folder_of_sentence_transformers_is_embedded_at_1x(embedder, source, tmp_path):
    found = predict(embedder.parent / "model", tmp_path, source)
    assert np.load(found) == pytest.approx(encoded(embedder), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["vectors=int4"], "vectors=int4: expected one of float32, float16, int8, uint8, binary, ubinary"),
        (["ranges=r.npy"], "ranges=r.npy is for vectors of 8 bits: add vectors=int8 or uint8"),
        (["vectors=int8", "ranges=gone.npy"], "ranges=gone.npy: no such file"),
        (["vectors=int8", "ranges=OTHER"], "these ranges are of 3 dimensions, and the model's embeddings have 32"),
        (["vectors=int8", "ranges=OUTPUT.ranges.npy"], "out.npy.ranges.npy is what ranges= names; give another name"),
        (["vectors=int8", "output=-"], "vectors=int8 with output=-: nobody would know the ranges"),
        (["vectors=int8", "window=1"], "that is one text: give ranges=FILE.npy, or a larger window"),
        (["dimensions=33"], "dimensions=33: the embeddings of this model have 32 numbers; give no more"),
        (["dimensions=0"], "dimensions=0: expected at least 1"),
        (["prompt_name=passage"], "prompt_name=passage: expected one of query, document"),
        (["all_probabilities=true"], "is for embedding: it has none; leave it out"),
        (["null_threshold=1"], "null_threshold=1 is for question answering"),
        (["text=[a,b]", "format=csv"], "this model reads 1 text column (text), not 2"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options, message, embedder, source, tmp_path):
    np.save(tmp_path / "other.npy", np.array([[0.0] * 3, [1.0] * 3]))
    np.save(tmp_path / "out.npy.ranges.npy", np.array([[0.0] * 32, [1.0] * 32]))
    if "format=csv" in options:
        source.write_text("a,b\nc,d\n")
    given = [one.replace("OTHER", f"{tmp_path}/other.npy").replace("OUTPUT", f"{tmp_path}/out.npy") for one in options]
    assert message in predict(embedder, tmp_path, source, *given, expect=2)
    assert not (tmp_path / "out.npy").exists()


def test_a_prompt_that_pooling_leaves_out_is_refused(embedder, source, tmp_path):
    folder = shutil.copytree(embedder, tmp_path / "checkpoint")
    (path,) = folder.glob("1_*/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"include_prompt": False}))
    (folder / "latadj.json").unlink()  # its dial knows nothing of prompts
    message = predict(folder, tmp_path, source, "prompt_name=query", expect=2)
    assert "left out when tokens are pooled, which predict does not do" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["output=out.npy"], "such a file holds embeddings, and checkpoint"),
        (["output=out.parquet"], "is for classification: write .csv or .jsonl"),
        (["output=out.csv", "vectors=int8"], "vectors=int8 is for embeddings, and checkpoint"),
        (["output=out.csv", "dimensions=8"], "dimensions=8 is for embeddings, and checkpoint"),
        (["output=out.csv", "prompt_name=query"], "prompt_name=query is for embeddings, and checkpoint"),
    ],
)
def test_a_classifier_has_no_vectors(options, message, source, tmp_path):
    model = toy.write_model(tmp_path / "model")
    found = run("predict", f"checkpoint={model}", f"folder={tmp_path}/run", f"input={source}", *options, expect=2)
    assert message in found.output
