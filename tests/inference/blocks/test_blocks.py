"""Blocks of an input: where they begin, what is kept, and that their answers are those of engine=local."""

import json
import random

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.served_model import write_served
from pyarrow import csv, parquet

from latadj.config.compose import compose, typed
from latadj.devices.device import place
from latadj.inference.blocks.columns import block_table, output_schema
from latadj.inference.blocks.plan import plan_blocks
from latadj.inference.blocks.run_state import BlocksState
from latadj.inference.blocks.storage import Storage
from latadj.inference.blocks.survey import kept_columns, survey
from latadj.inference.blocks.worker import BlocksJob, BlockWorker
from latadj.inference.streams.opening import open_model
from latadj.inference.streams.rows import Row
from latadj.inference.streams.served_embeddings import Embeddings

KINDS = ("parquet", "csv", "jsonl", "txt")
WORDS = [*toy.GOOD, *toy.BAD, *toy.FILLER]
ROWS = 45


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("blocks")
    write_served(root)
    return root


def texts_of(number):
    draw = random.Random(number)
    texts = [" ".join(draw.choices(WORDS, k=1 + place % 19)) for place in range(ROWS)]
    texts[7] = " "
    return texts


def write_input(folder, kind, files=2):
    """Files of texts, each with one that is empty, and of columns beside them."""
    folder.mkdir()
    for number in range(files):
        table = pa.table(
            {
                "key": pa.array(range(ROWS), pa.int32()),
                "label": [None, *['said, "before"'] * (ROWS - 1)],
                "text": texts_of(number),
                "parts": [[1.5, 2.5]] * ROWS,
            }
        )
        path = folder / f"{number}.{kind}"
        if kind == "parquet":
            parquet.write_table(table, path, row_group_size=17)
        elif kind == "csv":
            csv.write_csv(table.drop(["parts"]), path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
        else:
            path.write_text("".join(text + "\n" for text in texts_of(number)))
    return folder


def config_of(root, folder, *options):
    where = [f"checkpoint={root / 'checkpoint'}", f"folder={folder.parent / 'run'}", "device.name=cpu"]
    rest = ["device.threads=1", "engine=ray", f"output={folder}", "speedup=2", *options]
    return typed("predict", compose("predict", [*where, *rest]))


def answered(config, serving=None):
    """All blocks of an input, answered in this process."""
    plan = plan_blocks(config)
    surveys = [survey(plan.source, file, plan.kind, plan.options, config.ray.block_rows) for file in plan.files]
    kept = kept_columns(surveys)
    state = plan.state or BlocksState(plan.settings)
    state.leave(plan.output)
    worker = BlockWorker(
        BlocksJob(config, plan.source, plan.output, plan.kind, plan.options, kept, state.run, serving or {})
    )
    blocks = [block for number, one in enumerate(surveys) for block in one.blocks(number, config.ray.block_rows)]
    return blocks, [worker(block) for block in blocks]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_engine_local_row_by_row(root, tmp_path, kind):
    source, output = write_input(tmp_path / "in", kind), tmp_path / "out"
    blocks, outcomes = answered(
        config_of(root, output, f"input={source}", "ray.block_rows=20", "text=null" if kind == "txt" else "text=text")
    )
    assert [block.rows for block in blocks] == [20, 20, 5] * 2
    assert [outcome.refused for outcome in outcomes] == [None] * 6
    assert sorted(path.name for path in output.glob("*.parquet")) == [f"{block.name}.parquet" for block in blocks]
    found = parquet.read_table(output).to_pylist()
    for number in range(2):
        local = tmp_path / f"{number}.jsonl"
        where = [f"checkpoint={root / 'checkpoint'}", f"folder={tmp_path / 'local'}", "device.name=cpu"]
        rest = ["device.threads=1", "speedup=2", f"output={local}"] + ["text=text"] * (kind != "txt")
        run("predict", *where, *rest, f"input={source / f'{number}.{kind}'}")
        expected = [json.loads(line) for line in local.read_text().splitlines()]
        own = [row for row in found if row["input_file"] == f"{number}.{kind}"]
        assert [row["input_row"] for row in own] == [row["row"] for row in expected]
        assert len(own) == ROWS - 1
        for row, want in zip(own, expected, strict=True):
            assert row["predicted_label"] == want["label"]
            assert row["predicted_probability"] == pytest.approx(want["probability"], abs=1e-5)
            assert row["text"].strip() == texts_of(number)[want["row"] - 1]


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("parquet", ["int32", "string", "string", "list<element: double>"]),
        ("csv", ["string", "string", "string"]),
        ("jsonl", ["int64", "string", "string", "string"]),
        ("txt", ["string"]),
    ],
)
def test_the_inputs_columns_are_kept(root, tmp_path, kind, types):
    source = write_input(tmp_path / "in", kind)
    answered(config_of(root, tmp_path / "out", f"input={source}", *["text=text"] * (kind != "txt")))
    found = parquet.read_table(tmp_path / "out" / "part-00001-00000.parquet")
    names = ["key", "label", "text", "parts"][: len(types)] if kind != "txt" else ["text"]
    assert found.column_names == [*names, "input_file", "input_row", "predicted_label", "predicted_probability"]
    assert [str(found.schema.field(name).type).replace("item", "element") for name in names] == types
    first, second = found.to_pylist()[:2]
    if kind != "txt":
        assert (int(first["key"]), first["label"] or None, second["label"]) == (0, None, 'said, "before"')
    if "parts" in names:
        assert (json.loads(first["parts"]) if kind == "jsonl" else first["parts"]) == [1.5, 2.5]


def test_broken_rows_are_listed_with_file_and_row_or_stop_the_run(root, tmp_path):
    source = write_input(tmp_path / "in", "csv")
    options = [f"input={source}", "text=text", "ray.block_rows=20"]
    _, outcomes = answered(config_of(root, tmp_path / "out", *options))
    assert [(one.written, one.broken) for one in outcomes] == [(19, 1), (20, 0), (5, 0)] * 2
    assert outcomes[0].broken_shown == (f"{source / '0.csv'}, row 8 (line 9): text is empty",)
    listed = (tmp_path / "out" / "_broken-rows" / "part-00001-00000.csv").read_text().splitlines()
    assert listed == ["file,row,line,reason", "1.csv,8,9,text is empty"]
    _, outcomes = answered(config_of(root, tmp_path / "stopped", *options, "on_error=stop"))
    assert "row 8 (line 9): text is empty; on_error=skip" in outcomes[0].refused
    assert outcomes[0].resumable
    assert sorted(path.name for path in (tmp_path / "stopped").glob("part-*")) == [
        f"part-0000{file}-0000{block}.parquet" for file in range(2) for block in (1, 2)
    ]


def test_a_block_that_is_there_is_not_answered_again_and_one_of_another_run_is_refused(root, tmp_path):
    source = write_input(tmp_path / "in", "parquet", files=1)
    config = config_of(root, tmp_path / "out", f"input={source}", "text=text", "ray.block_rows=20")
    blocks, first = answered(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    (tmp_path / "out" / "part-00000-00001.parquet").unlink()
    config.resume = True
    _, again = answered(config)
    assert [(one.written, one.broken) for one in again] == [(one.written, one.broken) for one in first]
    changed = [path.stem for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == [blocks[1].name]
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "out" / "part-00000-00001.parquet")
    _, last = answered(config)
    assert "it is a block of another run" in last[1].refused
    assert not last[1].resumable
    (tmp_path / "out" / "part-00000-00001.parquet").write_bytes(b"")
    _, last = answered(config)
    assert ("this Parquet file is damaged" in last[1].refused, last[1].resumable) == (True, True)


def test_an_input_that_has_changed_meanwhile_is_no_reason_to_go_on(root, tmp_path):
    source = write_input(tmp_path / "in", "parquet", files=1)
    config = config_of(root, tmp_path / "out", f"input={source}", "text=text", "ray.block_rows=20")
    plan = plan_blocks(config)
    found = survey(plan.source, "0.parquet", plan.kind, plan.options, 20)
    places = (plan.source, plan.output, plan.kind, plan.options, kept_columns([found]))
    worker = BlockWorker(BlocksJob(config, *places, "a run", {}))
    first, *_, last = found.blocks(0, 20)
    parquet.write_table(parquet.read_table(source / "0.parquet").slice(0, 41), source / "0.parquet")
    assert worker(first).refused is None
    outcome = worker(last)
    assert ("it has changed since it was looked through" in outcome.refused, outcome.resumable) == (True, False)


@pytest.mark.parametrize("form", ["{}/in/out", "file://{}/in/out", "file://{}/x/../in", "{}"])
def test_an_output_in_the_input_is_refused_however_it_is_written(root, tmp_path, form):
    source = write_input(tmp_path / "in", "parquet", files=1)
    config = config_of(root, tmp_path / "out", f"input={source}", "text=text")
    config.output = form.format(tmp_path)
    with pytest.raises(ValueError, match="it lies in the input, or the input in it"):
        plan_blocks(config)


def test_another_kind_of_device_is_refused_where_a_speedup_is_in_its_time(root, tmp_path):
    source = write_input(tmp_path / "in", "parquet", files=1)
    other = {"place": "another machine", "precision": "fp32", "kernel": "mkldnn"}
    for options, words in [
        ([], "this run began on another machine"),
        (["dial.target=flops"], None),
        (["speedup=1"], None),
    ]:
        config = config_of(root, tmp_path / f"out{len(options)}{words}", f"input={source}", "text=text", *options)
        if options == ["speedup=1"]:
            config.output += "1"
        _, (outcome,) = answered(config, other)
        assert (outcome.refused is None) if words is None else (words in outcome.refused)


def test_other_threads_are_named_where_nothing_else_differs(root, tmp_path):
    config = config_of(root, tmp_path / "out", f"input={write_input(tmp_path / 'in', 'parquet', files=1)}", "text=text")
    other = place(torch.device("cpu")).replace(", 1 threads,", ", 7 threads,")
    _, (outcome,) = answered(config, {"place": other, "precision": "fp32", "kernel": "mkldnn"})
    assert "another profile on each number of threads: this run began on" in outcome.refused
    assert outcome.refused.endswith("give device.threads=7, or dial.target=flops")


def test_a_run_keeps_its_precision_on_another_kind_of_device(root, tmp_path):
    config = config_of(root, tmp_path / "out", "input=in", "speedup=1", "device.precision=auto")
    fastest = open_model(config).serving
    other = next(name for name in ("bf16", "fp32") if name != fastest["precision"])
    found = open_model(config, {"place": "another machine", "precision": other, "kernel": "none of here"}).serving
    assert found == {**fastest, "precision": other, "kernel": found["kernel"]}
    assert found["kernel"] != "none of here"


def test_a_column_of_an_answers_name_is_refused(root, tmp_path):
    (tmp_path / "in").mkdir()
    parquet.write_table(pa.table({"text": ["good"], "predicted_label": ["x"]}), tmp_path / "in" / "a.parquet")
    _, (outcome,) = answered(config_of(root, tmp_path / "out", f"input={tmp_path / 'in'}"))
    assert outcome.refused == "the input has a column 'predicted_label', as the output would: rename it"


@pytest.mark.parametrize("count", [0, 2])
def test_vectors_become_lists_of_one_length(count):
    number = pa.field("element", pa.int8(), nullable=False)
    schema = output_schema(pa.schema([("text", pa.string())]), {"embedding": pa.list_(number, 3)})
    rows = [Row(place + 1, ("a",), record=["a"]) for place in range(count)]
    table = block_table(schema, 1, "a.csv", rows, Embeddings("int8"), np.arange(3 * count, dtype="int8").reshape(-1, 3))
    assert table.schema.equals(schema)
    assert table["predicted_embedding"].to_pylist() == [[0, 1, 2], [3, 4, 5]][:count]


def test_files_of_other_columns_are_refused(root, tmp_path):
    source = write_input(tmp_path / "in", "parquet", files=1)
    parquet.write_table(pa.table({"text": ["good"]}), source / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet: its columns are text \(string\), and those of 0\.parquet"):
        answered(config_of(root, tmp_path / "out", f"input={source}", "text=text"))


def test_files_that_differ_in_missing_values_alone_are_read_together(root, tmp_path):
    (tmp_path / "in").mkdir()
    for number, label in enumerate(["good", None]):
        schema = pa.schema([pa.field("text", pa.string()), pa.field("label", pa.string(), nullable=number == 1)])
        table = pa.table({"text": ["good film"], "label": [label]}, schema=schema)
        parquet.write_table(table, tmp_path / "in" / f"{number}.parquet")
    _, outcomes = answered(config_of(root, tmp_path / "out", f"input={tmp_path / 'in'}", "text=text"))
    assert [one.refused for one in outcomes] == [None, None]
    assert parquet.read_table(tmp_path / "out")["label"].to_pylist() == ["good", None]


def test_object_stores_are_read_and_written(root, tmp_path):
    files, source = fsspec.filesystem("memory"), write_input(tmp_path / "in", "csv", files=1)
    files.put(str(source), "/texts", recursive=True)
    options = ["text=text", "ray.block_rows=20"]
    _, outcomes = answered(config_of(root, tmp_path / "out", f"input={source}", *options))
    config = config_of(root, tmp_path / "out", *options)
    config.input, config.output = "memory://texts", "memory://answers"
    _, remote = answered(config)
    assert [one.refused for one in remote] == [None] * 3
    assert sorted(name for name in Storage("memory://answers", "output").names() if name.startswith("part")) == [
        f"part-00000-0000{number}.parquet" for number in range(3)
    ]
    with files.open("/answers/part-00000-00002.parquet") as file:
        assert parquet.read_table(file).equals(parquet.read_table(tmp_path / "out" / "part-00000-00002.parquet"))
    assert files.ls("/answers/_not-yet-whole") == []
    assert sum(one.broken for one in remote) == sum(one.broken for one in outcomes) == 1
