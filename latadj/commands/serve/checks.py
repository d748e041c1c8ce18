"""What `latadj serve` refuses before torch is imported."""

from importlib.util import find_spec
from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.checkpoints.task_spec import type_of
from latadj.config import EMBEDDING, GENERATION, ServeConfig
from latadj.inference.device_clock import require_any_clock
from latadj.inference.graph_folder import check_graphs, require_graph_clock
from latadj.runtime.manifest import Manifest, is_exported

# Of the extra `serve`.
PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
# The types of task that are served.
ANSWERED = ("classification", EMBEDDING)


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
    if config.runtime != "auto":  # else whatever runs is asked for its clock once it is known
        require_any_clock(f"deadline_ms={config.deadline_ms:g}", folder, metadata, config.device.precision)
    return metadata


def _check_graphs(config: ServeConfig) -> CheckpointMetadata:
    folder = Path(config.checkpoint)
    metadata = check_graphs(folder, config.device, "serve")
    _require_type(folder, Manifest.read(folder).type, *ANSWERED)
    require_graph_clock(f"deadline_ms={config.deadline_ms:g}", folder, metadata, config.device.asked_threads)
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
