"""What commands that train refuse before torch is imported."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from latadj.checkpoints.metadata import check, labels_of
from latadj.checkpoints.replaceable import check_replaceable
from latadj.commands.checks import require_examples
from latadj.config import CommandConfig, DistillationConfig, FinetuneConfig, PruneConfig, RunConfig
from latadj.devices import processes
from latadj.utils import hub
from latadj.utils.files import real_path

# What a training leaves in its folder until its stage is done.
_OF_TRAINER = re.compile(r"(damaged-)?checkpoint-\d+")


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
    labels, student_labels = labels_of(folder, metadata) or [], config.task.labels or []
    if (
        labels
        and student_labels
        and [name.casefold() for name in labels] != [name.casefold() for name in student_labels]
    ):
        raise ValueError(
            f"{option}={folder}: its outputs stand for {labels}, those of its student for {student_labels}: "
            "name a model of the same labels in the same order"
        )


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers of ``report_to`` whose package is not installed.

    Raises
    ------
    ValueError
    """
    for name in names:
        packages = ("tensorboard", "tensorboardX") if name == "tensorboard" else (name,)
        needed = name if name == "wandb" else "'latadj[tracking]'"
        # A folder of that name, such as the one wandb writes its runs to, has a spec too, but no origin.
        if not any((spec := find_spec(package)) is not None and spec.origin for package in packages):
            raise ValueError(
                f"report_to={name}: the package {name} is not installed: pip install {needed}, or leave report_to out"
            )


def check_finetune(config: FinetuneConfig) -> None:
    """Refuse a model, a teacher or examples that are missing, and folders that hold something else.

    Raises
    ------
    ValueError
    """
    hub.model_source(config.model.path)
    source, needed, named = Path(config.model.path), [Path(config.folder) / "finetune"], teacher_of(config)
    if named is not None:
        needed.append(named[1])
    work, plain, checkpoint = (real_path(path) for path in (needed[0], f"{config.folder}/plain", config.checkpoint))
    if checkpoint.is_relative_to(work):
        raise ValueError(
            f"checkpoint={config.checkpoint}: this is in {needed[0]}, which the training clears; name another folder"
        )
    if config.adjustable and checkpoint == plain:
        raise ValueError(
            f"checkpoint={config.checkpoint}: the plain model is saved here, and the adjustable one needs a folder of "
            "its own; name another, or take adjustable=false"
        )
    for stage in ("plain", "adjustable"):
        _check_cleared(config.folder, needed[0] / stage)
    for option, folder in (("checkpoint", config.checkpoint), ("folder", f"{config.folder}/plain")):
        # Without plain fine-tuning the plain model is the source, which may come back to its own place.
        same = option == "folder" and config.plain.epochs == 0
        check_replaceable(option, folder, needed if same or not source.is_dir() else [*needed, source])
    if config.plain.epochs:
        processes.check_share(config.plain.batch_size, "plain.batch_size")
    if config.adjustable:
        processes.check_share(config.adjust.batch_size, "adjust.batch_size")
    check_teacher(config)
    require_trackers(config.report_to)
    require_examples(config.task)


def _check_cleared(run_folder: str, work: Path) -> None:
    """Refuse a folder of a run whose work, which the training clears, is somebody else's."""
    other = next((path for path in sorted(work.glob("*")) if not _OF_TRAINER.fullmatch(path.name)), None)
    if other is not None:
        raise ValueError(
            f"folder={run_folder}: the training clears {work}, which holds {other.name}, and that would be lost; name "
            "another folder, or move it away"
        )
