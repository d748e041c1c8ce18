"""Takes the place of a checkpoint by the graphs that are faster here: runtime=auto."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from latadj.checkpoints.metadata import CheckpointMetadata, Device, check
from latadj.checkpoints.runtime_times import RuntimeTrial, nearest
from latadj.config import DeviceConfig, PredictConfig, ServeConfig
from latadj.devices.device import place
from latadj.inference.graph_folder import check_graphs
from latadj.runtime.manifest import is_exported

log = logging.getLogger("latadj")
Config = TypeVar("Config", PredictConfig, ServeConfig)


@dataclass(frozen=True)
class Fastest:
    """What is to run.

    folder : the checkpoint, or graphs of it
    precision : that it runs in
    metadata : of the folder
    """

    folder: Path
    precision: str
    metadata: CheckpointMetadata


def fastest(
    folder: Path,
    asked: DeviceConfig,
    where: torch.device,
    metadata: CheckpointMetadata | None = None,
    *,
    batch: int | None,
    speedup: float | None,
) -> Fastest:
    """The folder that is the fastest in a checkpoint's place, as `latadj calibrate runtime=auto` timed it.

    Parameters
    ----------
    folder : the checkpoint
    asked : its ``precision`` says which take part; all with ``auto``
    metadata : of the checkpoint, if they have been read already
    batch : texts of a batch; None: any number, so that the largest that was timed counts
    speedup : at which it runs; None: any

    Raises
    ------
    ValueError
        if nothing was timed on this device, or graphs are gone or hold another dial.
    """
    if is_exported(folder):
        raise ValueError(f"runtime=auto chooses between a checkpoint and its graphs, and {folder} holds graphs")
    metadata = check(folder) if metadata is None else metadata
    here, precision = place(where), asked.precision
    timed = metadata.devices.get(here, Device()).runtimes
    calibrate = f"`{metadata.calibrate(folder)} runtime=auto device.precision={precision}`"

    def able(trial: RuntimeTrial) -> bool:
        return precision in ("auto", trial.precision)

    times = nearest(timed, batch or max(one.batch for one in timed)) if timed else None
    best = times.fastest(speedup, able) if times else None
    if times is None or best is None:
        raise ValueError(f"runtime=auto: no runtime was timed on this device ({here}, {precision}): run {calibrate}")
    if best.folder is None:
        log.info("runtime=auto takes PyTorch in %s: %s", best.precision, _text(times.speedups, best))
        return Fastest(folder, best.precision, metadata)
    graphs = (folder / best.folder).resolve()
    if not is_exported(graphs):
        raise ValueError(f"runtime=auto: {graphs}, which was the fastest, is gone; export it again, or run {calibrate}")
    found = check_graphs(graphs, replace(asked, precision="auto"), "run")
    if found.dial != metadata.dial:
        raise ValueError(f"runtime=auto: {graphs} holds another dial than {folder}; export it again")
    log.info("runtime=auto takes %s in %s: %s", graphs, best.precision, _text(times.speedups, best))
    return Fastest(graphs, best.precision, found)


def with_fastest(
    config: Config,
    where: torch.device,
    metadata: CheckpointMetadata | None,
    *,
    batch: int | None,
    speedup: float | None,
) -> tuple[Config, CheckpointMetadata]:
    """The config with the folder that is the fastest in the checkpoint's place, as if named, and its metadata.

    Parameters and errors as of :func:`fastest`.
    """
    best = fastest(Path(config.checkpoint), config.device, where, metadata, batch=batch, speedup=speedup)
    device = replace(config.device, precision=best.precision)
    return replace(config, checkpoint=str(best.folder), device=device, runtime=None), best.metadata


def _text(speedups: tuple[float, ...], trial: RuntimeTrial) -> str:
    return ", ".join(f"{ms:.3g} ms at {speedup:g}x" for ms, speedup in zip(trial.ms, speedups, strict=True))
