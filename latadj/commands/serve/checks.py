"""What `latadj serve` refuses before torch is imported."""

from importlib.util import find_spec
from pathlib import Path

from latadj.checkpoints.config_file import model_config
from latadj.checkpoints.metadata import CheckpointMetadata, Device, check, read_metadata
from latadj.checkpoints.task_spec import type_of
from latadj.config import GENERATION, ServeConfig
from latadj.inference.device_clock import require_any_clock
from latadj.runtime.manifest import Manifest, is_exported
from latadj.runtime.place import calibrate_command, cpu_threads, place
from latadj.runtime.sessions import RUNTIMES

# Of the extra `serve`.
PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
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
    folder = Path(config.checkpoint)
    exported = Manifest.read(folder) if is_exported(folder) else None
    metadata = check(folder) if exported is None else read_metadata(folder)
    task_type = type_of(folder, metadata.task_spec) if exported is None else exported.type
    if task_type == GENERATION:
        raise ValueError(
            f"checkpoint {folder} is a language model: serve answers for classifiers; vLLM serves language models, and "
            "`latadj generate` continues a prompt"
        )
    if task_type != "classification":
        kind = (task_type or "no task").replace("_", " ")
        raise ValueError(
            f"checkpoint {folder} is for {kind}: serve answers for classification and regression; `latadj predict` "
            "reads a file"
        )
    if exported is not None and exported.speedup is not None:
        raise ValueError(
            f"checkpoint {folder} holds a graph of one speedup, {exported.speedup:g}x, and serve turns a dial: export "
            "it without speedup="
        )
    if exported is not None:
        model_config(folder, AGAIN)
    if metadata.dial is None:
        mend = f"make one with `{metadata.calibrate(folder)}`" if exported is None else AGAIN
        raise ValueError(f"checkpoint {folder} has no dial: {mend}")
    deadline = f"deadline_ms={config.deadline_ms:g}"
    if exported is None:
        require_any_clock(deadline, folder, metadata, config.device.precision)
    else:
        _require_clock_of_graphs(deadline, config, exported, metadata)
    if config.policy == "fixed":
        metadata.dial.profile(config.speedup)
    elif config.max_drop is not None:
        # What is lost at 1x is the same in FLOPs as in time.
        metadata.dial.within(config.max_drop, config.confident)
    return metadata


def _require_clock_of_graphs(
    deadline: str, config: ServeConfig, exported: Manifest, metadata: CheckpointMetadata
) -> None:
    """Refuse graphs whose time on this machine nobody measured, or that do not run as asked."""
    folder, asked, threads = Path(config.checkpoint), config.device, cpu_threads(config.device.asked_threads)
    if asked.precision not in ("fp32", "auto", exported.precision):
        raise ValueError(
            f"device.precision={asked.precision}: the graphs of {folder} are {exported.precision}, whatever is asked; "
            "leave it out"
        )
    if asked.name not in ("auto", "cpu"):
        raise ValueError(f"device={asked.name}: graphs run on the CPU; serve the checkpoint that they were made of")
    runtime = RUNTIMES[exported.format]
    if find_spec(runtime) is None:
        raise ValueError(f"the graphs of {folder} need {runtime}: pip install {runtime}")
    here = metadata.devices.get(place(threads, runtime), Device())
    served = here.serving.get(exported.precision)
    if served is None or not served.models:
        raise ValueError(
            f"{deadline} goes by the time that passes take, and the graphs of {folder} were not measured on "
            f"{place(threads, runtime)}: run `{calibrate_command(folder, threads, runtime)}`, a minute or two"
        )
