"""The models of the commands that evaluate: the checkpoint's, ready to serve, and the full ones beside it."""

import logging
from pathlib import Path

from transformers import PreTrainedModel

from latadj.checkpoints.metadata import CheckpointMetadata, read_metadata
from latadj.commands.common.session import Session, open_checkpoint
from latadj.config import EvalConfig, SweepConfig
from latadj.inference.serving import load_plain, make_ready
from latadj.kernels.lowering import kernel_of

log = logging.getLogger("latadj")


def open_served(config: SweepConfig | EvalConfig, metadata: CheckpointMetadata) -> Session:
    """Load checkpoint and examples, and make the model ready to serve, in this device's time if it was calibrated.

    Parameters
    ----------
    metadata : of the checkpoint, with the dial that it is to have
    """
    session = open_checkpoint(config, metadata)
    make_ready(
        session.model,
        metadata,
        metadata.dial,
        session.device,
        precision=config.device.precision,
        target=config.dial.target,
        batch=session.batch,
        length=config.workload.length,
    )
    return session


def plain_model(session: Session) -> PreTrainedModel:
    """The session's checkpoint as transformers runs it, without elimination."""
    return _plain(session, Path(session.config.checkpoint), session.metadata)


def fine_tuned_model(session: Session) -> PreTrainedModel | None:
    """The plain fine-tuned model that `finetune` saves beside its checkpoint; None for a checkpoint from elsewhere."""
    config = session.config
    folder = Path(config.folder) / "plain"
    same_run_folder = Path(config.checkpoint).resolve().parent == folder.resolve().parent
    if not same_run_folder or not folder.is_dir():
        log.info("no plain model beside this checkpoint: drops count from its own speedup 1")
        return None
    metadata, run = read_metadata(folder), session.metadata.notes.get("run")
    if run is not None and metadata.notes.get("run") != run:
        log.warning("%s comes from another run than this checkpoint and is left out", folder)
        return None
    return _plain(session, folder, metadata)


def _plain(session: Session, folder: Path, metadata: CheckpointMetadata) -> PreTrainedModel:
    precision = kernel_of(session.model).precision
    return load_plain(folder, head=session.config.head, device=session.device, precision=precision, metadata=metadata)
