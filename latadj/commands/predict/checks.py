"""What `latadj predict` refuses before torch is imported."""

from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import PredictConfig
from latadj.inference.streams.plan import check_plan


def check_predict(config: PredictConfig) -> CheckpointMetadata:
    """Metadata of the checkpoint that answers.

    Raises
    ------
    ValueError
        if it, the input or a package is missing, or something does not fit.
    """
    if config.engine == "local":
        return check_plan(config)
    from latadj.inference.blocks.plan import check_blocks

    return check_blocks(config)
