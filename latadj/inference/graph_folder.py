"""Whether a folder of exported graphs can be run here at any speedup of its dial. Imports no torch."""

from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from latadj.checkpoints.config_file import model_config
from latadj.checkpoints.metadata import CheckpointMetadata, Device, Serving, read_metadata
from latadj.config import DeviceConfig
from latadj.runtime.manifest import Manifest
from latadj.runtime.place import calibrate_command, cpu_threads, place
from latadj.runtime.sessions import RUNTIMES

AGAIN = "export it again with `latadj export`"


def check_graphs(folder: Path, asked: DeviceConfig, command: str) -> CheckpointMetadata:
    """Metadata of a folder of graphs.

    Parameters
    ----------
    command : that is to run them, for the message

    Raises
    ------
    ValueError
        if the folder is damaged, holds a graph of one speedup, its runtime is not installed, or another device or
        precision is asked for.
    """
    manifest, metadata = Manifest.read(folder), read_metadata(folder)
    if manifest.speedup is not None:
        raise ValueError(
            f"checkpoint {folder} holds a graph of one speedup, {manifest.speedup:g}x, and {command} turns a dial: "
            "export it without speedup="
        )
    model_config(folder, AGAIN)
    if metadata.dial is None:
        raise ValueError(f"checkpoint {folder} has no dial: {AGAIN}")
    if asked.precision not in ("fp32", "auto", manifest.precision):
        raise ValueError(
            f"device.precision={asked.precision}: the graphs of {folder} are {manifest.precision}, whatever is asked; "
            "leave it out"
        )
    if asked.name not in ("auto", "cpu"):
        raise ValueError(f"device={asked.name}: graphs run on the CPU; {command} the checkpoint that they were made of")
    runtime = RUNTIMES[manifest.format]
    if find_spec(runtime) is None:
        raise ValueError(f"the graphs of {folder} need {runtime}: pip install {runtime}")
    return metadata


def refuse_to_save(folder: Path) -> NoReturn:
    """Refuse to save a model that runs a folder's graphs.

    Raises
    ------
    ValueError
    """
    raise ValueError(
        f"{folder} holds graphs, which have no weights to save: copy the folder, or save the checkpoint that they were "
        "made of"
    )


def graphs_measured(manifest: Manifest, metadata: CheckpointMetadata, threads: int | None) -> Serving | None:
    """What was measured of graphs on so many threads of this machine; None if nothing was.

    Parameters
    ----------
    threads : None: one for each CPU
    """
    here = place(cpu_threads(threads), RUNTIMES[manifest.format])
    served = metadata.devices.get(here, Device()).serving.get(manifest.precision)
    return served if served is not None and served.models else None


def graphs_need_clock(folder: Path, manifest: Manifest, threads: int | None) -> str:
    """That a folder's graphs were not measured here, and the command that does it."""
    runtime, count = RUNTIMES[manifest.format], cpu_threads(threads)
    return (
        f"the graphs of {folder} were not measured on {place(count, runtime)}: run "
        f"`{calibrate_command(folder, count, runtime)}`, a minute or two"
    )


def require_graph_clock(option: str, folder: Path, metadata: CheckpointMetadata, threads: int | None) -> None:
    """Refuse a deadline where a folder's graphs were not measured.

    Parameters
    ----------
    option : the deadline as it is written on the command line

    Raises
    ------
    ValueError
    """
    manifest = Manifest.read(folder)
    if graphs_measured(manifest, metadata, threads) is None:
        raise ValueError(
            f"{option} goes by the time that passes take, and {graphs_need_clock(folder, manifest, threads)}"
        )
