"""What `latadj sweep` and `latadj eval` refuse before torch is imported."""

from latadj.commands.common.dial_checks import require_dial
from latadj.commands.common.task_checks import require_examples
from latadj.commands.evaluation.compared_models import models_to_compare
from latadj.config import EvalConfig, SweepConfig


def check_sweep(config: SweepConfig) -> None:
    """Refuse a checkpoint without the dial that is asked for, or models that cannot be compared.

    Raises
    ------
    ValueError
    """
    if config.compare.models:
        models_to_compare(config)
    else:
        require_dial(config, config.speedup)
    require_examples(config.task)


def check_eval(config: EvalConfig) -> None:
    """Refuse a checkpoint without the dial that is asked for.

    Raises
    ------
    ValueError
    """
    require_dial(config, [config.speedup])
    require_examples(config.task)
