"""latadj predict engine=ray: a folder of files, block by block, by actors of Ray Data that hold the model.

Ray Data hands out blocks, starts actors anew where they or their machines are lost, and asks again for what they had.
Only the places of blocks and what became of them pass through Ray: actors read and write the files themselves.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.predict.prepare import alone
from latadj.commands.predict.result import document, served_facts
from latadj.config import PredictConfig
from latadj.devices.hardware_key import HardwareKey
from latadj.inference.blocks.columns import output_schema
from latadj.inference.blocks.plan import SUFFIX, BlocksPlan, plan_blocks
from latadj.inference.blocks.ray_actors import answers_of, call_on
from latadj.inference.blocks.room import cpus_of, gpus_of, own_config, require_room, room
from latadj.inference.blocks.run_state import BROKEN, STATE, BlocksState
from latadj.inference.blocks.storage import TEMPORARY
from latadj.inference.blocks.survey import Block, FileSurvey, kept_columns, survey
from latadj.inference.blocks.worker import BROKEN_SHOWN, BlocksJob, Outcome, written_block
from latadj.inference.ray_cluster import connect
from latadj.inference.streams.finished import result_path
from latadj.inference.streams.opening import open_model
from latadj.utils.console import kept_warnings, progress
from latadj.utils.files import write_json

log = logging.getLogger("latadj")
# Footers of blocks that are read at a time.
FOOTERS = 16


@dataclass
class BlocksReady:
    """A cluster that is connected, and blocks that its actors can answer; without a job nothing is left to do.

    facts : what a result says of the model
    """

    config: PredictConfig
    plan: BlocksPlan
    ray: Any = None
    blocks: Sequence[Block] = ()
    job: BlocksJob | None = None
    facts: dict[str, Any] | None = None


def open_blocks(config: PredictConfig, checked: CheckpointMetadata | None = None) -> BlocksReady:
    """Connect to the cluster, look through the files there, and try whether the model can be opened there.

    Raises
    ------
    ValueError
        if something is missing or does not fit, or no cluster answers.
    """
    plan = plan_blocks(config, checked)
    if plan.finished is not None:
        return BlocksReady(config, plan)
    ray = connect(config.ray.address)
    try:
        own = own_config(config, ray)
        require_room(own, ray)
        surveys: list[FileSurvey] = call_on(
            ray, survey, [(plan.source, name, plan.kind, plan.options, config.ray.block_rows) for name in plan.files]
        )
        kept = kept_columns(surveys)
        state = plan.state or BlocksState(plan.settings)
        job = BlocksJob(own, plan.source, plan.output, plan.kind, plan.options, kept, state.run, state.serving)
        ((serving, facts, warnings),) = call_on(ray, _tried, [(job,)], cpus=cpus_of(own), gpus=gpus_of(own))
    except BaseException:
        ray.shutdown()
        raise
    for warning in warnings:
        log.warning("%s", warning)
    blocks = [block for number, one in enumerate(surveys) for block in one.blocks(number, config.ray.block_rows)]
    return BlocksReady(config, plan, ray, blocks, replace(job, serving=serving), facts)


def _tried(job: BlocksJob) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """What the model is served on, what a result says of it, and what is to be warned of where the user sees it."""
    with kept_warnings() as warnings:
        opened = open_model(job.config, job.serving)
    engine, facts = opened.engine, served_facts(opened.engine.model, opened.kernel, opened.plan)
    output_schema(job.kept, engine.task.arrow_types(engine.model, engine.tokenizer))
    if job.config.dial.target == "latency" and facts["target"] == "flops" and facts["speedup"] not in (None, 1.0):
        warnings.append(_in_flops(facts["speedup"], opened.serving["place"], opened.plan.metadata))
    return job.serving or opened.serving, facts, warnings


def _in_flops(speedup: float, where: str, metadata: CheckpointMetadata) -> str:
    """That a speedup is not in time, and with which threads it would be."""
    here, known = HardwareKey.of(where), [HardwareKey.of(name) for name in metadata.devices]
    threads = sorted(key.threads for key in known if key and here and key.threads and key.but_for_threads(here))
    mend = f"device.threads={threads[-1]} was" if threads else "device.threads= says how many threads each has"
    return (
        f"speedup={speedup:g} is in FLOPs, which may be another profile than engine=local takes: the processes run on "
        f"{where}, which was not calibrated; {mend}"
    )


def run_blocks(ready: BlocksReady) -> dict[str, Any]:
    """Answer all blocks that are not there yet.

    Returns
    -------
    what ``predict/predict.json`` holds
    """
    config, plan, job = ready.config, ready.plan, ready.job
    if plan.finished is not None:
        log.info("%s is finished already, there is nothing to go on with", config.output)
        return plan.finished
    assert job is not None and ready.facts is not None
    try:
        with alone(Path(plan.output.path("")), config) if plan.output.local else nullcontext():
            state = _begun(ready, job)
            start, done = time.perf_counter(), _done(ready, job)
            resumed = sum(one.written for one in done)
            outcomes = done + _answered(ready, job, {one.block for one in done}, resumed)
            seconds = time.perf_counter() - start
            _require_all(ready)
            state.counts = {name: sum(getattr(one, name) for one in outcomes) for name in ("read", "written", "broken")}
            result = {
                **_result(ready, state, seconds, resumed),
                **ready.facts,
                "settings": plan.settings,
                "config": asdict(config),
            }
            write_json(result_path(config), result)
            state.leave(plan.output)
            plan.output.remove(TEMPORARY)  # of processes that were lost
    finally:
        ready.ray.shutdown()
    document(result).print()
    log.info("wrote %s and %s", config.output, result_path(config))
    return result


def _begun(ready: BlocksReady, job: BlocksJob) -> BlocksState:
    """The state of the run, in its output; of a run that is overwritten nothing is left.

    Raises
    ------
    ValueError
        if another run has begun there meanwhile.
    """
    plan, output = ready.plan, ready.plan.output
    if plan.state is not None:
        return plan.state
    there = output.names()
    if STATE in there and not ready.config.overwrite:
        raise ValueError(f"output={output.url}: another run has begun here meanwhile; start this one again")
    if STATE in there:
        with suppress(ValueError):  # of a damaged one nothing can go on
            replace(BlocksState.of(output), counts=None).leave(output)
    # The state last: a kill on the way leaves the other run, with fewer blocks.
    output.remove(*(name for name in there if name != STATE), STATE)
    state = BlocksState(plan.settings, serving=job.serving)
    state.leave(output)
    return state


def _done(ready: BlocksReady, job: BlocksJob) -> list[Outcome]:
    """What became of the blocks that are there."""
    there = set(ready.plan.output.names())
    names = [block.name for block in ready.blocks if block.name + SUFFIX in there]
    with ThreadPoolExecutor(FOOTERS) as pool:
        found = pool.map(lambda name: written_block(ready.plan.output, name, job.run), names)
        return [one for one in found if one is not None]


def _require_all(ready: BlocksReady) -> None:
    """Refuse blocks that their processes wrote where this one does not find them.

    Raises
    ------
    ValueError
    """
    output = ready.plan.output
    there = set(output.names())
    if missing := [block.name for block in ready.blocks if block.name + SUFFIX not in there]:
        raise ValueError(
            f"output={output.url}: {len(missing)} of {len(ready.blocks)} blocks were written, such as {missing[0]}, "
            "and are not here: it is not on a file system that all machines share; name one, or a URL"
        )


def _answered(ready: BlocksReady, job: BlocksJob, done: set[str], written: int) -> list[Outcome]:
    """What became of the other blocks, once all of them are there.

    Raises
    ------
    ValueError
        if one is refused, or the cluster is lost.
    """
    todo = [block for block in ready.blocks if block.name not in done]
    outcomes: list[Outcome] = []
    if not todo:
        return outcomes
    if done:
        log.info("going on after %d of %d blocks", len(done), len(ready.blocks))
    behind = sum(block.rows for block in ready.blocks) - sum(block.rows for block in todo)
    shown, own = 0, job.config
    actors = min(own.ray.actors or max(room(own, ready.ray), 1), len(todo))
    log.info("%d blocks for %d actors", len(todo), actors)
    with progress("predict", float(behind + sum(block.rows for block in todo)), "texts") as steps:
        steps.start_at(written, float(behind))
        for outcome in answers_of(job, todo, actors, cpus=cpus_of(own), gpus=gpus_of(own)):
            if outcome.refused is not None:
                raise ValueError(outcome.refused + ("; resume=true goes on" if outcome.resumable else ""))
            outcomes.append(outcome)
            steps.advance(outcome.written, each=outcome.read / max(outcome.written, 1))
            for line in outcome.broken_shown[: BROKEN_SHOWN - shown]:
                log.warning("%s; left out", line)
            shown += min(len(outcome.broken_shown), BROKEN_SHOWN - shown)
    if broken := sum(one.broken for one in outcomes):
        log.warning("%d broken rows are left out; all are in %s", broken, ready.plan.output.path(BROKEN))
    return outcomes


def _result(ready: BlocksReady, state: BlocksState, seconds: float, resumed: int) -> dict[str, Any]:
    config, counts = ready.config, state.counts or {}
    return {
        "schema": "latadj.predict/1",
        "checkpoint": config.checkpoint,
        "task": ready.plan.metadata.task,
        "type": ready.plan.task_type,
        "input": config.input,
        "output": config.output,
        "broken_rows": ready.plan.output.path(BROKEN) if counts["broken"] else None,
        "rows": counts,
        "blocks": len(ready.blocks),
        "seconds": seconds,
        "texts_per_s": (counts["written"] - resumed) / seconds,
        "resumed": bool(resumed),
        "deadline": None,
        "vectors": None,
    }
