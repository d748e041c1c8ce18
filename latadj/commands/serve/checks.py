"""What `latadj serve` refuses before torch is imported."""

from importlib.util import find_spec
from pathlib import Path

from latadj.checkpoints.config_file import model_config
from latadj.checkpoints.metadata import CheckpointMetadata, Device, check, read_metadata
from latadj.checkpoints.task_spec import type_of
from latadj.config import EMBEDDING, GENERATION, ServeConfig
from latadj.inference.device_clock import require_any_clock
from latadj.runtime.manifest import Manifest, is_exported
from latadj.runtime.place import calibrate_command, cpu_threads, place
from latadj.runtime.sessions import RUNTIMES

# Of the extra `serve`.
PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
# The types of task that are served.
ANSWERED = ("classification", EMBEDDING)
AGAIN = "export it again with `latadj export`"


def check_serve(config: ServeConfig) -> CheckpointMetadata:
    """Metadata of the checkpoint, or of the folder of graphs, that is served.

    Raises
    ------
    ValueError
        if a package is missing, there is no such checkpoint, it is not a classifier, has no dial or was measured on no
        device, or the policy goes beyond the dial or ``max_drop``.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise ValueError(f"the package {package} is not installed: pip install 'latadj[serve]'")
    if config.engine == "ray" and find_spec("ray") is None:
        raise ValueError("engine=ray needs Ray Serve: pip install 'latadj[serve,ray]'")
    metadata = (_check_graphs if is_exported(Path(config.checkpoint)) else _check_checkpoint)(config)
    assert metadata.dial is not None
    if config.policy == "fixed":
        metadata.dial.profile(config.speedup)
    elif config.max_drop is not None:
        # What is lost at 1x is the same in FLOPs as in time.
        metadata.dial.within(config.max_drop, config.confident)
    return metadata


def _check_checkpoint(config: ServeConfig) -> CheckpointMetadata:
    folder = Path(config.checkpoint)
    metadata = check(folder)
    _require_type(folder, type_of(folder, metadata.task_spec), *ANSWERED)
    if metadata.dial is None:
        raise ValueError(f"checkpoint {folder} has no dial: make one with `{metadata.calibrate(folder)}`")
    require_any_clock(f"deadline_ms={config.deadline_ms:g}", folder, metadata, config.device.precision)
    return metadata


def _check_graphs(config: ServeConfig) -> CheckpointMetadata:
    folder, asked = Path(config.checkpoint), config.device
    manifest, metadata = Manifest.read(folder), read_metadata(folder)
    _require_type(folder, manifest.type, "classification")
    if manifest.speedup is not None:
        raise ValueError(
            f"checkpoint {folder} holds a graph of one speedup, {manifest.speedup:g}x, and serve turns a dial: export "
            "it without speedup="
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
        raise ValueError(f"device={asked.name}: graphs run on the CPU; serve the checkpoint that they were made of")
    runtime, threads = RUNTIMES[manifest.format], cpu_threads(asked.asked_threads)
    if find_spec(runtime) is None:
        raise ValueError(f"the graphs of {folder} need {runtime}: pip install {runtime}")
    here = place(threads, runtime)
    served = metadata.devices.get(here, Device()).serving.get(manifest.precision)
    if served is None or not served.models:
        raise ValueError(
            f"deadline_ms={config.deadline_ms:g} goes by the time that passes take, and the graphs of {folder} were "
            f"not measured on {here}: run `{calibrate_command(folder, threads, runtime)}`, a minute or two"
        )
    return metadata


def _require_type(folder: Path, task_type: str | None, *possible: str) -> None:
    """Refuse a model for another type of task than these; None: one without a head."""
    if task_type == GENERATION:
        raise ValueError(
            f"checkpoint {folder} is a language model: serve answers for classifiers; vLLM serves language models, and "
            "`latadj generate` continues a prompt"
        )
    if task_type not in possible:
        kind = (task_type or "no task").replace("_", " ")
        raise ValueError(
            f"checkpoint {folder} is for {kind}: serve answers for {' and '.join(possible)}; `latadj predict` reads a "
            "file"
        )
