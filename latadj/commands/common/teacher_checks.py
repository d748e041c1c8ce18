"""Whether a saved model can teach a stage of training, seen before it is loaded; imports no torch, no transformers."""

from pathlib import Path

from latadj.checkpoints.metadata import check, labels_of
from latadj.config import CommandConfig, DistillationConfig, FinetuneConfig, PruneConfig, RunConfig


def teacher_of(config: RunConfig) -> tuple[str, Path] | None:
    """The option that names a command's teacher, and its folder; None where a model is taught by itself."""
    stage: DistillationConfig
    if isinstance(config, FinetuneConfig):
        name, stage = "adjust", config.adjust
    elif isinstance(config, PruneConfig):
        name, stage = "recover", config.recover
    else:
        return None
    return None if stage.teacher is None else (f"{name}.teacher", Path(stage.teacher))


def check_teacher(config: CommandConfig) -> None:
    """Refuse a folder that holds no teacher for the command's task, whose labels count once they are known.

    Raises
    ------
    ValueError
        if it is missing, cut short, or its outputs stand for something else.
    """
    found = teacher_of(config)
    if found is None:
        return
    option, folder = found
    if not folder.is_dir():
        raise ValueError(f"{option}={folder}: no such folder; name a fine-tuned model, or null for the model itself")
    try:
        metadata = check(folder, config.task)
    except ValueError as error:
        raise ValueError(f"{option}={folder}: {error}") from error
    ours, theirs = config.task.labels or [], labels_of(folder, metadata) or []
    if ours and theirs and [name.casefold() for name in ours] != [name.casefold() for name in theirs]:
        raise ValueError(
            f"{option}={folder}: its outputs stand for {theirs}, those of its pupil for {ours}: "
            "name a model of the same labels in the same order"
        )
