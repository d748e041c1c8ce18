"""Whether a command's checkpoint has the dial that the command asks for; imports neither torch nor transformers."""

from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.config import CommandConfig, ExplainConfig, GenerateConfig, TaskConfig
from latadj.elimination.dial import Dial

# What follows the name of a checkpoint that `latadj explain` cannot show.
GENERATES = "is a language model, and explain shows what a classifier reads: `latadj generate` counts its survivors"


def uses_pretrained(config: CommandConfig) -> bool:
    """Whether a command takes a language model as it is, since nobody made a checkpoint."""
    generates = config.task.type == "generation" or config.prompt is not None
    return generates and not Path(config.checkpoint).exists()


def require_dial(config: CommandConfig, speedups: list[float]) -> Dial:
    """The dial of the command's checkpoint, after checking that it reaches all of ``speedups``.

    Raises
    ------
    ValueError
        if there is no dial, or a speedup is off it.
    """
    sidecar = check(Path(config.checkpoint), config.task)
    if sidecar.dial is None:
        raise ValueError(f"checkpoint {config.checkpoint} has no dial: make one with `latadj calibrate` (same options)")
    check_protection(sidecar.dial, config.task)
    profile_type = getattr(config, "profile", None)
    dial = sidecar.dial.with_profile_type(profile_type) if profile_type else sidecar.dial
    for speedup in speedups:
        dial.profile(speedup)
    return dial


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
            f"{str(made).lower()}, and its marks are true for that only: give the same, or make a dial with "
            "`latadj calibrate`"
        )


def dial_to_generate(config: GenerateConfig) -> CheckpointMetadata | None:
    """What is known of the checkpoint that `latadj generate` runs; None where it runs the model as it is.

    Raises
    ------
    ValueError
        if a speedup above 1 is asked for and there is no dial, or it is off the dial.
    """
    folder, speedup = Path(config.checkpoint), config.speedup
    make = f"make one with `latadj calibrate model={config.model.name} task={config.task.name}`"
    if not folder.is_dir():
        if speedup == 1.0:
            return None
        raise ValueError(f"speedup={speedup:g} needs a dial, and there is no checkpoint {folder}: {make}")
    sidecar = check(folder)
    if sidecar.dial is not None:
        (sidecar.dial.with_profile_type(config.profile) if config.profile else sidecar.dial).profile(speedup)
    elif speedup != 1.0:
        raise ValueError(f"speedup={speedup:g} needs a dial, and checkpoint {folder} has none: {make}")
    return sidecar


def dial_to_explain(config: ExplainConfig) -> tuple[CheckpointMetadata, Dial]:
    """What is known of the classifier that `latadj explain` runs, and its dial on the wanted profile_type.

    Raises
    ------
    ValueError
        if there is no classifier or no dial, or the speedup is off it.
    """
    sidecar = check(Path(config.checkpoint))
    kind = sidecar.task_spec.type if sidecar.task_spec else "classification"
    if kind == "generation":
        raise ValueError(f"checkpoint {config.checkpoint} {GENERATES}")
    if kind != "classification":
        raise ValueError(
            f"checkpoint {config.checkpoint} is for {kind.replace('_', ' ')}, and explain shows what a classifier reads"
        )
    if sidecar.dial is None:
        make = f"`latadj calibrate checkpoint={config.checkpoint}`"
        raise ValueError(f"checkpoint {config.checkpoint} has no dial: make one with {make} (same task=)")
    dial = sidecar.dial.with_profile_type(config.profile) if config.profile else sidecar.dial
    dial.profile(config.speedup)
    return sidecar, dial
