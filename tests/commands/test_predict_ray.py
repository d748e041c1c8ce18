"""latadj predict engine=ray through the real command line; tests/inference/blocks has what needs no cluster."""

import json
import random
import shutil

import pyarrow as pa
import pytest
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.served_model import write_served
from pyarrow import parquet

from latadj.inference.blocks import plan

pytest.importorskip("ray")
WORDS = [*toy.GOOD, *toy.BAD, *toy.FILLER]
FILES, ROWS = 3, 50


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("on_ray")
    write_served(root)
    (root / "in").mkdir()
    draw = random.Random(0)
    for number in range(FILES):
        texts = [" ".join(draw.choices(WORDS, k=1 + place % 19)) for place in range(ROWS)]
        texts[3] = ""
        parquet.write_table(pa.table({"id": range(ROWS), "text": texts}), root / "in" / f"{number}.parquet")
    return root


def options(root, *more, engine="ray"):
    where = [f"checkpoint={root / 'checkpoint'}", "device.name=cpu", "device.threads=1", "speedup=2", "text=text"]
    return ["predict", *where, f"engine={engine}", *more]


def on_ray(root, folder, *more):
    rest = [f"input={root / 'in'}", f"output={folder / 'out'}", f"folder={folder}", "ray.block_rows=20"]
    return options(root, *rest, *more)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    memory = 100 * 2**20
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": memory})
    made.add_node(num_cpus=1, object_store_memory=memory)
    yield made.address
    made.shutdown()


def contents(folder):
    return {path.name: parquet.read_table(path).to_pylist() for path in sorted(folder.glob("part-*"))}


def result(folder):
    return json.loads((folder / "predict" / "predict.json").read_text())


def test_every_row_is_answered_once_as_by_engine_local_and_a_run_that_was_cut_short_goes_on(root, cluster, tmp_path):
    run(*on_ray(root, tmp_path, f"ray.address={cluster}"))
    whole, made = contents(tmp_path / "out"), result(tmp_path)
    assert len(whole) == made["blocks"] == 3 * FILES
    assert made["rows"] == {"read": 150, "written": 147, "broken": 3}
    assert not made["resumed"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("part-")) == [
        *("_broken-rows", "_latadj.json")
    ]
    rows = [row for block in whole.values() for row in block]
    for number in range(FILES):
        local = tmp_path / f"{number}.jsonl"
        source = root / "in" / f"{number}.parquet"
        run(*options(root, f"input={source}", f"output={local}", f"folder={tmp_path / 'local'}", engine="local"))
        expected = [json.loads(line) for line in local.read_text().splitlines()]
        own = [row for row in rows if row["input_file"] == source.name]
        assert [(row["input_row"], row["predicted_label"]) for row in own] == [
            (row["row"], row["label"]) for row in expected
        ]
        assert [row["predicted_probability"] for row in own] == pytest.approx(
            [row["probability"] for row in expected], abs=1e-5
        )
    for name in ("part-00000-00001", "part-00002-00000"):
        (tmp_path / "out" / f"{name}.parquet").unlink()
    state = json.loads((tmp_path / "out" / "_latadj.json").read_text())
    (tmp_path / "out" / "_latadj.json").write_text(json.dumps({**state, "counts": None}))
    run(*on_ray(root, tmp_path, f"ray.address={cluster}", "resume=true"))
    assert contents(tmp_path / "out") == whole
    assert (result(tmp_path)["rows"], result(tmp_path)["resumed"]) == (made["rows"], True)
    before = result(tmp_path)
    run(*on_ray(root, tmp_path, f"ray.address={cluster}", "resume=true"))
    assert result(tmp_path) == before


def refused(root, folder, *more):
    found = run(*on_ray(root, folder, *more), expect=2)
    assert found.stderr.count("\n") == 1, found.stderr
    return found.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["output=answers.csv"], "engine=ray writes a folder of Parquet files"),
        (["output=-"], "output=- with engine=ray"),
        (["deadline_ms=20", "speedup=null"], "deadline_ms=20 with engine=ray"),
        (["id=id"], "id=id with engine=ray, which keeps every column"),
        (["engine=local", "ray.actors=2"], "ray.* with engine=local"),
        (["ray.actors=0"], "ray.actors=0: expected at least 1"),
        (["input=none"], "input=none: no such file or folder"),
        (["input=nothing://texts"], "input=nothing://texts: it cannot be opened"),
        (["ray.address=127.0.0.1:1"], "ray.address=127.0.0.1:1: no Ray cluster answers there"),
        (["resume=true", "overwrite=true"], "give one of them"),
    ],
)
def test_what_it_cannot_do_is_refused(root, tmp_path, more, words):
    assert words in refused(root, tmp_path, *more)


def test_without_ray_the_extra_is_named(root, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "find_spec", lambda name: None)
    assert "engine=ray needs Ray Data: pip install 'latadj[ray]'" in refused(root, tmp_path)


def test_a_folder_of_something_else_is_refused(root, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(root / "in", out)
    assert f"output={out}: it holds 0.parquet, which predict did not write" in refused(root, tmp_path)
    assert "it lies in the input" in refused(root, tmp_path, f"output={root / 'in' / 'out'}")
    (root / "in" / "0.parquet").rename(out / "part-00000-00000.parquet")
    try:
        for path in out.glob("[0-9]*"):
            path.unlink()
        assert "it holds blocks of an unknown run" in refused(root, tmp_path)
    finally:
        (out / "part-00000-00000.parquet").rename(root / "in" / "0.parquet")


def test_blocks_of_another_run_are_refused(root, tmp_path):
    from latadj.config.compose import compose, typed
    from latadj.inference.blocks.run_state import BlocksState

    command, *rest = on_ray(root, tmp_path)
    made = plan.plan_blocks(typed(command, compose(command, rest)))
    BlocksState(made.settings).leave(made.output)
    assert "resume=true goes on, overwrite=true starts anew" in refused(root, tmp_path)
    for more, words in [
        (["speedup=3"], "it holds blocks of another run: speedup was 2.0 and is 3.0"),
        (["ray.block_rows=10"], "ray.block_rows was 20 and is 10"),
        ([f"input={root / 'in' / '0.parquet'}"], "input was"),
    ]:
        assert words in refused(root, tmp_path, "resume=true", *more)
    (tmp_path / "out" / "_latadj.json").write_text("{}")
    assert "_latadj.json: not the record of a run (another schema)" in refused(root, tmp_path, "resume=true")
