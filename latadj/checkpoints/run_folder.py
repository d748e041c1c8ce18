"""Where in a run's folder its checkpoint is."""

from pathlib import Path


def model_folder(path: Path) -> Path:
    """The checkpoint's folder: ``path``, or its ``checkpoint`` if it is a run's folder.

    Raises
    ------
    ValueError
        if it is a file.
    """
    if path.is_file():
        raise ValueError(f"{path}: this is a file; name a checkpoint's folder, or that of the run that made it")
    inside = path / "checkpoint"
    return inside if inside.is_dir() and not (path / "config.json").exists() else path
