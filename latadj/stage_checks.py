"""What the options of a stage of fine-tuning may be, whichever command it belongs to; imports no torch."""

from collections.abc import Sequence

from latadj.config import StageConfig

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
        if value < 0 or (value == 0 and key in positive):
            problems.append(f"{name}.{key}={value}: expected a number above 0")
    for key in (*LEAST_ONE, *stage.cuts()):
        value = getattr(stage, key)
        if value is not None and value < 1:
            problems.append(f"{name}.{key}={value}: expected at least 1")
    if stage.attention_dropout is not None and not 0 <= stage.attention_dropout < 1:
        problems.append(f"{name}.attention_dropout={stage.attention_dropout}: expected a share from 0 to 1, or null")
    return problems
