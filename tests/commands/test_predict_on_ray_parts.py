"""What latadj predict engine=ray does around its cluster, each piece by itself in this process."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from helpers.served_model import write_served
from pyarrow import parquet

from latadj.checkpoints.metadata import read_metadata, write_metadata
from latadj.commands.predict import on_ray
from latadj.config.compose import compose, typed
from latadj.inference.blocks.plan import plan_blocks
from latadj.inference.blocks.run_state import BlocksState
from latadj.inference.blocks.storage import Storage
from latadj.inference.blocks.survey import kept_columns, survey
from latadj.inference.blocks.worker import BlocksJob, BlockWorker


@pytest.fixture
def checkpoint(tmp_path):
    return write_served(tmp_path)


def config_of(checkpoint, *options):
    folder = checkpoint.parent
    (folder / "in").mkdir(exist_ok=True)
    parquet.write_table(pa.table({"text": ["good", "bad", "film"]}), folder / "in" / "a.parquet")
    fixed = [
        f"checkpoint={checkpoint}",
        f"folder={folder / 'run'}",
        "device.name=cpu",
        "engine=ray",
        "ray.block_rows=1",
    ]
    places = [f"input={folder / 'in'}", f"output={folder / 'out'}"]
    return typed("predict", compose("predict", [*fixed, *places, *options]))


def job_of(config, plan):
    surveys = [survey(plan.source, file, plan.kind, plan.options, config.ray.block_rows) for file in plan.files]
    state = BlocksState(plan.settings)
    places = (plan.source, plan.output, plan.kind, plan.options, kept_columns(surveys))
    blocks = [block for number, one in enumerate(surveys) for block in one.blocks(number, config.ray.block_rows)]
    return BlocksJob(config, *places, state.run, {}), blocks


def tried(config):
    return on_ray._tried(job_of(config, plan_blocks(config))[0])


def test_a_speedup_that_is_not_in_the_calibrated_time_names_the_threads_that_were(checkpoint):
    metadata = read_metadata(checkpoint)
    (place,) = metadata.devices
    *_, warnings = tried(config_of(checkpoint, "device.threads=1", "speedup=2"))
    assert warnings == []
    other = place.replace("1 threads", "3 threads")
    write_metadata(checkpoint, replace(metadata, devices={other: metadata.devices[place]}))
    *_, warnings = tried(config_of(checkpoint, "device.threads=1", "speedup=2"))
    assert warnings[0].startswith("the dial is marked in FLOPs: this device")
    assert warnings[1].startswith("speedup=2 is in FLOPs, which may be another profile than engine=local takes")
    assert warnings[1].endswith(f"{place}, which was not calibrated; device.threads=3 was")
    for more in (["speedup=1"], ["speedup=2", "dial.target=flops"]):
        *_, warnings = tried(config_of(checkpoint, "device.threads=1", *more))
        assert not any(warning.startswith("speedup=") for warning in warnings)


def ready_of(config, monkeypatch, answer=lambda worker, block: worker(block)):
    """What run_blocks begins with, on a cluster that is this process."""
    plan = plan_blocks(config)
    job, blocks = job_of(config, plan)
    serving, facts, _ = on_ray._tried(job)
    workers = []

    def answers_of(job, todo, actors, **reserved):
        workers.append(BlockWorker(job))
        return (answer(workers[0], block) for block in todo)

    monkeypatch.setattr(on_ray, "answers_of", answers_of)
    cluster = SimpleNamespace(shutdown=lambda: None, nodes=lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    return on_ray.BlocksReady(config, plan, cluster, blocks, replace(job, serving=serving), facts)


def blocks_in(config):
    return sorted(path.name for path in Path(config.output).glob("part-*"))


def test_a_run_is_complete_only_while_all_its_blocks_are_there(checkpoint, monkeypatch):
    config = config_of(checkpoint)
    whole = on_ray.run_blocks(ready_of(config, monkeypatch))
    names = blocks_in(config)
    assert len(names) == whole["blocks"] == 3
    again = replace(config, resume=True)
    assert plan_blocks(again).finished == whole
    (Path(config.output) / names[1]).unlink()
    assert plan_blocks(again).finished is None
    assert on_ray.run_blocks(ready_of(again, monkeypatch))["rows"] == whole["rows"]
    assert blocks_in(config) == names


def test_a_kill_while_blocks_are_overwritten_leaves_a_run_that_is_not_complete(checkpoint, monkeypatch):
    config = config_of(checkpoint)
    on_ray.run_blocks(ready_of(config, monkeypatch))

    def killed(storage, *names):
        raise KeyboardInterrupt

    ready = ready_of(replace(config, overwrite=True), monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Storage, "remove", killed)
        on_ray.run_blocks(ready)
    assert plan_blocks(replace(config, resume=True)).state.counts is None


def test_blocks_that_other_machines_keep_to_themselves_are_refused(checkpoint, monkeypatch):
    config = config_of(checkpoint)

    def elsewhere(worker, block):
        outcome = worker(block)
        (Path(config.output) / f"{block.name}.parquet").unlink()
        return outcome

    with pytest.raises(ValueError, match=r"3 of 3 blocks were written, such as part-00000-00000, and are not here"):
        on_ray.run_blocks(ready_of(config, monkeypatch, elsewhere))
    assert plan_blocks(replace(config, resume=True)).state.counts is None
