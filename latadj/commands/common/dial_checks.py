"""Whether a command's checkpoint has the dial that the command needs; imports neither torch nor transformers.

Each check returns the metadata that it read, which the command's ``prepare`` takes, so that they are read once.
"""

from dataclasses import replace
from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.config import GENERATION, CommandConfig, ExplainConfig, GenerateConfig, TaskConfig
from latadj.elimination.dial import Dial

# What follows the name of a checkpoint that `latadj explain` cannot show.
GENERATES = "is a language model, and explain shows what a classifier reads: `latadj generate` counts its survivors"


def uses_pretrained(config: CommandConfig) -> bool:
    """Whether a command takes a language model as it is, since nobody made a checkpoint."""
    return config.generates and not Path(config.checkpoint).exists()


def require_dial(config: CommandConfig, speedups: list[float]) -> CheckpointMetadata:
    """Metadata of the command's checkpoint, its dial on the profile type of ``profile=``, which reaches ``speedups``.

    Raises
    ------
    ValueError
        if there is no dial, or a speedup is off it.
    """
    metadata = check(Path(config.checkpoint), config.task)
    if metadata.dial is None:
        raise ValueError(f"checkpoint {config.checkpoint} has no dial: make one with `latadj calibrate` (same options)")
    check_protection(metadata.dial, config.task)
    return _on_profile(metadata, metadata.dial, getattr(config, "profile", None), speedups)


def _on_profile(
    metadata: CheckpointMetadata, dial: Dial, profile_type: str | None, speedups: list[float]
) -> CheckpointMetadata:
    """The metadata with the dial on a profile type; None: its own. Refuses speedups that are off it."""
    dial = dial.with_profile_type(profile_type) if profile_type else dial
    for speedup in speedups:
        dial.profile(speedup)
    return replace(metadata, dial=dial)


def check_protection(dial: Dial, task: TaskConfig) -> None:
    """Refuse a dial that was made with the question protected where it is not now, or the other way round.

    Raises
    ------
    ValueError
    """
    made = dial.protected > 0
    if task.type == "question_answering" and task.protect_question != made:
        raise ValueError(
            f"task.protect_question={str(task.protect_question).lower()}: this checkpoint's dial was made with "
            f"{str(made).lower()}, and its speedups hold for that only: give the same, or make a dial with "
            "`latadj calibrate`"
        )


def dial_to_generate(config: GenerateConfig) -> CheckpointMetadata | None:
    """Metadata of the checkpoint that `latadj generate` runs; None if it runs the pretrained model.

    Raises
    ------
    ValueError
        if a speedup above 1 is given and there is no dial, or it is off the dial.
    """
    folder, speedup = Path(config.checkpoint), config.speedup
    make = f"make one with `latadj calibrate model={config.model.name} task={config.task.name}`"
    if not folder.is_dir():
        if speedup == 1.0:
            return None
        raise ValueError(f"speedup={speedup:g} needs a dial, and there is no checkpoint {folder}: {make}")
    metadata = check(folder)
    if metadata.dial is not None:
        return _on_profile(metadata, metadata.dial, config.profile, [speedup])
    if speedup != 1.0:
        raise ValueError(f"speedup={speedup:g} needs a dial, and checkpoint {folder} has none: {make}")
    return metadata


def dial_to_explain(config: ExplainConfig) -> CheckpointMetadata:
    """Metadata of the classifier that `latadj explain` runs, its dial on the profile type of ``profile=``.

    Raises
    ------
    ValueError
        if there is no classifier or no dial, or the speedup is off it.
    """
    metadata = check(Path(config.checkpoint))
    task_type = metadata.task_spec.type if metadata.task_spec else "classification"
    if task_type == GENERATION:
        raise ValueError(f"checkpoint {config.checkpoint} {GENERATES}")
    if task_type != "classification":
        raise ValueError(
            f"checkpoint {config.checkpoint} is for {task_type.replace('_', ' ')}, and explain shows what a classifier "
            "reads"
        )
    if metadata.dial is None:
        make = f"`latadj calibrate checkpoint={config.checkpoint}`"
        raise ValueError(f"checkpoint {config.checkpoint} has no dial: make one with {make} (same task=)")
    return _on_profile(metadata, metadata.dial, config.profile, [config.speedup])
