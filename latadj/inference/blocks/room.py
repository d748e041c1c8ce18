"""What an actor reserves of a Ray cluster, and how many of them its machines have room for."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from latadj.config import PredictConfig

log = logging.getLogger("latadj")
# Shares of a CPU do not divide evenly in binary.
ROUNDING = 1e-9


def own_config(config: PredictConfig, ray: Any) -> PredictConfig:
    """The config of a process that runs in a folder of Ray's, beside others.

    Ray shows each actor its own GPU as the first, and none to one that reserves none.
    """
    threads = config.device.threads or max(1, int(cpus_of(config)))
    kind, _, _ = config.device.name.partition(":")
    if kind == "auto":
        kind = "cuda" if ray.cluster_resources().get("GPU", 0) else "cpu"
    return replace(
        config,
        checkpoint=str(Path(config.checkpoint).resolve()),
        ranges=None if config.ranges is None else str(Path(config.ranges).resolve()),
        device=replace(config.device, name=kind, threads=threads),
    )


def cpus_of(config: PredictConfig) -> float:
    """CPUs that an actor reserves."""
    return config.ray.cpus if config.ray.cpus is not None else float(config.device.threads or 1)


def gpus_of(own: PredictConfig) -> float:
    """GPUs that an actor reserves, by its own config."""
    return 1.0 if own.device.name == "cuda" else 0.0


def room(own: PredictConfig, ray: Any) -> int:
    """How many actors the cluster has room for now, each whole on one machine."""
    return sum(_room_of(own, node["Resources"]) for node in ray.nodes() if node["Alive"])


def _room_of(own: PredictConfig, has: dict[str, float]) -> int:
    of_cpus = has.get("CPU", 0) / cpus_of(own)
    return int((min(of_cpus, has.get("GPU", 0) / gpus_of(own)) if gpus_of(own) else of_cpus) + ROUNDING)


def require_room(own: PredictConfig, ray: Any) -> None:
    """Refuse to wait for CPUs that this machine does not have; a cluster of several may grow.

    Raises
    ------
    ValueError
        if this machine alone has not room for the actors that are asked for, or for one.
    """
    actors, have = own.ray.actors or 1, room(own, ray)
    each = f"{cpus_of(own):g} CPUs" + (" and a GPU" if gpus_of(own) else "")
    if own.ray.address is None and have < actors:
        raise ValueError(
            f"ray.actors={actors} of {each} each, and this machine has room for {have}: take fewer actors, or "
            "less with ray.cpus= or device.threads="
        )
    if have < 1:
        log.warning("no machine of the cluster has %s for an actor: waiting until it grows", each)
