"""The Ray cluster that a command runs on."""

from dataclasses import dataclass
from typing import Any

from latadj.config.fields import POSITIVE, Section, at_least, option

ENGINES = ("local", "ray")


@dataclass
class RayServeOptions(Section):
    """How `latadj serve engine=ray` uses a Ray cluster."""

    address: str | None = option(
        None, "cluster to serve on, such as auto or HOST:PORT; null: one on this machine alone"
    )
    autoscaling: dict[str, Any] | None = option(
        None, "Ray Serve's autoscaling_config, such as {min_replicas: 1, max_replicas: 4}; null: replicas="
    )
    cpus: float | None = option(None, "CPUs that a replica reserves; null: device.threads", POSITIVE)


@dataclass
class RayPredictOptions(Section):
    """How `latadj predict engine=ray` uses a Ray cluster."""

    address: str | None = option(None, "cluster to run on, such as auto or HOST:PORT; null: one on this machine alone")
    actors: int | None = option(
        None, "processes that hold the model; null: as many as the cluster has room for", at_least(1)
    )
    cpus: float | None = option(None, "CPUs that an actor reserves; null: device.threads, or 1", POSITIVE)
    block_rows: int = option(32768, "rows of the input that become one file of the output", at_least(1))
