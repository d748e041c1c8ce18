"""What the commands of one module each refuse before torch is imported; the others have checks in their packages."""

from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.checkpoints.replaceable import check_replaceable
from latadj.commands.common.dial_checks import dial_to_explain, dial_to_generate, uses_pretrained
from latadj.commands.common.task_checks import require_examples
from latadj.commands.common.teacher_checks import check_teacher, teacher_of
from latadj.config import CalibrateConfig, ExplainConfig, FinetuneConfig, GenerateConfig, PredictConfig
from latadj.inference.streams.plan import check_plan
from latadj.utils import hub


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
    for option, folder in (("checkpoint", config.checkpoint), ("folder", f"{config.folder}/plain")):
        # Without plain fine-tuning the plain model is the source, which may come back to its own place.
        same = option == "folder" and config.plain.epochs == 0
        check_replaceable(option, folder, needed if same or not source.is_dir() else [*needed, source])
    check_teacher(config)
    require_examples(config.task)


def check_calibrate(config: CalibrateConfig) -> CheckpointMetadata | None:
    """Refuse a checkpoint, or the language model in its place, or examples that are missing.

    Raises
    ------
    ValueError
    """
    metadata = None
    if uses_pretrained(config):
        hub.model_source(config.model.path)
    else:
        metadata = check(Path(config.checkpoint), config.task)
    require_examples(config.task)
    return metadata


def check_generate(config: GenerateConfig) -> CheckpointMetadata | None:
    """Refuse a speedup that the dial does not have, and a model that is missing.

    Raises
    ------
    ValueError
    """
    metadata = dial_to_generate(config)
    if metadata is None:
        hub.model_source(config.model.path)
    return metadata


def check_explain(config: ExplainConfig) -> CheckpointMetadata:
    """Refuse a checkpoint that is no classifier with a dial, and a speedup off the dial.

    Raises
    ------
    ValueError
    """
    return dial_to_explain(config)


def check_predict(config: PredictConfig) -> CheckpointMetadata:
    """Refuse what a stream cannot be predicted with.

    Raises
    ------
    ValueError
    """
    return check_plan(config)
