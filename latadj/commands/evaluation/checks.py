"""What `latadj sweep` and `latadj eval` refuse before torch is imported."""

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.common.dial_checks import require_dial
from latadj.commands.common.task_checks import require_examples
from latadj.commands.evaluation.compared_models import ComparedModel, models_to_compare
from latadj.config import EvalConfig, SweepConfig


def check_sweep(config: SweepConfig) -> CheckpointMetadata | list[ComparedModel]:
    """Refuse a checkpoint without the dial that is asked for, or models that cannot be compared.

    Raises
    ------
    ValueError
    """
    checked = models_to_compare(config) if config.compare.models else require_dial(config, config.speedup)
    require_examples(config.task)
    return checked


def check_eval(config: EvalConfig) -> CheckpointMetadata:
    """Refuse a checkpoint without the dial that is asked for.

    Raises
    ------
    ValueError
    """
    metadata = require_dial(config, [config.speedup])
    require_examples(config.task)
    return metadata
