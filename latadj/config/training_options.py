"""What the options of a stage of fine-tuning may be, whichever command it belongs to; imports no torch."""

from collections.abc import Sequence

from latadj.config import DistillationConfig, StageConfig

LEAST_ONE = ("max_steps", "accumulate", "eval_steps", "eval_examples")


def stage_problems(name: str, stage: StageConfig, positive: Sequence[str]) -> list[str]:
    """Values that cannot be worked with.

    Parameters
    ----------
    name : of the stage in the config
    positive : options among epochs, batch size and learning rate that have to be above 0; the others may be 0
    """
    problems = []
    for key in ("epochs", "batch_size", "learning_rate"):
        value = getattr(stage, key)
        if not value >= 0 or (value == 0 and key in positive):
            problems.append(f"{name}.{key}={value}: expected {'a number above 0' if key in positive else '0 or more'}")
    for key in (*LEAST_ONE, *stage.cuts()):
        value = getattr(stage, key)
        if value is not None and value < 1:
            problems.append(f"{name}.{key}={value}: expected at least 1")
    if stage.attention_dropout is not None and not 0 <= stage.attention_dropout < 1:
        problems.append(f"{name}.attention_dropout={stage.attention_dropout}: expected a share from 0 to 1, or null")
    if not 0 <= stage.warmup <= 1:
        problems.append(f"{name}.warmup={stage.warmup}: expected a share of the steps, from 0 to 1")
    if not stage.weight_decay >= 0:
        problems.append(f"{name}.weight_decay={stage.weight_decay}: expected 0 (none) or more")
    if stage.patience < 1:
        problems.append(f"{name}.patience={stage.patience}: expected at least 1 validation without a better metric")
    if not 0 <= stage.ema_decay < 1:
        problems.append(
            f"{name}.ema_decay={stage.ema_decay}: expected a share from 0 (no mean) to below 1, such as 0.99"
        )
    return problems


def distillation_problems(name: str, stage: DistillationConfig, kind: str) -> list[str]:
    """Values that a stage with a teacher cannot work with, for a task of this kind."""
    problems = []
    for key in ("task_loss_weight", "distillation_loss_weight", "word_dropout_copies"):
        value = getattr(stage, key)
        if not value >= 0:
            problems.append(f"{name}.{key}={value}: expected 0 or more")
    if stage.word_dropout_copies > 0 and kind != "classification":
        problems.append(
            f"{name}.word_dropout_copies={stage.word_dropout_copies}: only texts with one label each can "
            "lose words; expected 0"
        )
    return problems
