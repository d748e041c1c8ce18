"""Whether a saved model can teach a stage, checked before it is loaded; imports neither torch nor transformers."""

from pathlib import Path

from latadj.checkpoints.metadata import check, labels_of
from latadj.config import CommandConfig, DistillationConfig, FinetuneConfig, PruneConfig, RunConfig


def teacher_of(config: RunConfig) -> tuple[str, Path] | None:
    """The option that names a command's teacher, and its folder; None if a model is its own teacher."""
    stage: DistillationConfig
    if isinstance(config, FinetuneConfig):
        name, stage = "adjust", config.adjust
    elif isinstance(config, PruneConfig):
        name, stage = "recover", config.recover
    else:
        return None
    return None if stage.teacher is None else (f"{name}.teacher", Path(stage.teacher))


def check_teacher(config: CommandConfig) -> None:
    """Refuse a folder that holds no teacher for the command's task; labels are compared once they are known.

    Raises
    ------
    ValueError
        if it is missing, cut short, or its outputs stand for something else.
    """
    named = teacher_of(config)
    if named is None:
        return
    option, folder = named
    if not folder.is_dir():
        raise ValueError(f"{option}={folder}: no such folder; name a fine-tuned model, or null for the model itself")
    try:
        metadata = check(folder, config.task)
    except ValueError as error:
        raise ValueError(f"{option}={folder}: {error}") from error
    labels, expected = labels_of(folder, metadata) or [], config.task.labels or []
    if labels and expected and [name.casefold() for name in labels] != [name.casefold() for name in expected]:
        raise ValueError(
            f"{option}={folder}: its outputs stand for {labels}, those of its student for {expected}: "
            "name a model of the same labels in the same order"
        )
