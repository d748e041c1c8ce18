"""Blocks on Ray: functions that are called on its machines, and a pool of actors that hold the model."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from latadj.inference.blocks.survey import Block
from latadj.inference.blocks.worker import BlocksJob, BlockWorker, Outcome
from latadj.utils.serialization import structure, unstructure

# Ray keeps an object for each of its blocks, which hold several of ours where there are more than this.
MOST_RAY_BLOCKS = 2000


def call_on(
    ray: Any, work: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, cpus: float = 1.0, gpus: float = 0.0
) -> Any:
    """What a function returns on the cluster, for each of some arguments.

    Parameters
    ----------
    ray : the module, connected
    cpus, gpus : that a call reserves

    Raises
    ------
    ValueError
        that the function raised, or if the cluster loses a call.
    """
    from ray.exceptions import RayError

    def guarded(*arguments: Any) -> tuple[Any, str | None]:
        try:
            return work(*arguments), None
        except (ValueError, OSError) as error:
            return None, str(error)

    remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(guarded)
    try:
        found = ray.get([remote.remote(*arguments) for arguments in calls])
    except RayError as error:
        raise ValueError(f"{_lost(error)}; start again once it can") from error
    if refused := next((reason for _, reason in found if reason is not None), None):
        raise ValueError(refused)
    return [result for result, _ in found]


class _Actor:
    """A worker as Ray Data calls it: its rows have no dataclasses."""

    def __init__(self, job: BlocksJob) -> None:
        self.worker = BlockWorker(job)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        outcome = self.worker(structure(Block, json.loads(row["block"])))
        return {"outcome": json.dumps(unstructure(outcome))}


def answers_of(
    job: BlocksJob, todo: Sequence[Block], actors: int, *, cpus: float = 1.0, gpus: float = 0.0
) -> Iterator[Outcome]:
    """Outcomes of blocks, as they come.

    Parameters
    ----------
    actors : that hold the model; one that is lost is started again, and what it had is asked again
    cpus, gpus : that an actor reserves

    Raises
    ------
    ValueError
        if the cluster is lost.
    """
    from ray import data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    items = [{"block": json.dumps(unstructure(block))} for block in todo]
    answered = data.from_items(items, override_num_blocks=min(len(items), MOST_RAY_BLOCKS)).map(
        _Actor,
        fn_constructor_args=(job,),
        # One at a time, so that the last blocks do not wait behind each other.
        compute=data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
        num_cpus=cpus,
        num_gpus=gpus or None,
    )
    try:
        for row in answered.iter_rows():
            yield structure(Outcome, json.loads(row["outcome"]))
    except RayError as error:
        raise ValueError(f"{_lost(error)}; resume=true does, once it can") from error


def _lost(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the cluster cannot go on ({lines[-1]})"
