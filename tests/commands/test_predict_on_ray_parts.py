"""What latadj predict engine=ray does around its cluster, each piece by itself in this process."""

from dataclasses import replace

import pyarrow as pa
import pytest
from helpers.served_model import write_served
from pyarrow import parquet

from latadj.checkpoints.metadata import read_metadata, write_metadata
from latadj.commands.predict import on_ray
from latadj.config.compose import compose, typed
from latadj.inference.blocks.plan import plan_blocks
from latadj.inference.blocks.run_state import BlocksState
from latadj.inference.blocks.survey import kept_columns, survey
from latadj.inference.blocks.worker import BlocksJob


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
