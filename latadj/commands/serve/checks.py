"""What `latadj serve` refuses before torch is imported."""

from importlib.util import find_spec
from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.checkpoints.task_spec import type_of
from latadj.config import GENERATION, ServeConfig
from latadj.inference.device_clock import require_any_clock

# Of the extra `serve`.
PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


def check_serve(config: ServeConfig) -> CheckpointMetadata:
    """Metadata of the checkpoint that is served.

    Raises
    ------
    ValueError
        if a package is missing, there is no such checkpoint, it is not a classifier, has no dial or was measured on no
        device, or the policy goes beyond the dial or ``max_drop``.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise ValueError(f"the package {package} is not installed: pip install 'latadj[serve]'")
    folder = Path(config.checkpoint)
    metadata = check(folder)
    task_type = type_of(folder, metadata.task_spec)
    if task_type == GENERATION:
        raise ValueError(
            f"checkpoint {folder} is a language model: serve answers for classifiers; vLLM serves language models, and "
            "`latadj generate` continues a prompt"
        )
    if task_type != "classification":
        raise ValueError(
            f"checkpoint {folder} is for {task_type.replace('_', ' ')}: serve answers for classification and "
            "regression; `latadj predict` reads a file"
        )
    if metadata.dial is None:
        raise ValueError(f"checkpoint {folder} has no dial: make one with `{metadata.calibrate(folder)}`")
    deadline = f"deadline_ms={config.deadline_ms:g}"
    require_any_clock(deadline, folder, metadata, config.device.precision)
    if config.policy == "fixed":
        metadata.dial.profile(config.speedup)
    elif config.max_drop is not None:
        # What is lost at 1x is the same in FLOPs as in time.
        metadata.dial.within(config.max_drop, config.confident)
    return metadata
