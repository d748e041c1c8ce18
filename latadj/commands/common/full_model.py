"""The full models that a dial is compared with, as transformers runs them."""

import logging
from pathlib import Path

from transformers import PreTrainedModel

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import read_metadata
from latadj.commands.common.session import Session, head_of
from latadj.elimination.attach import as_plain
from latadj.kernels.linear import DTYPES
from latadj.kernels.lowering import kernel_of

log = logging.getLogger("latadj")


def fine_tuned(session: Session) -> PreTrainedModel | None:
    """The plain fine-tuned model that `finetune` keeps, or None for a checkpoint from elsewhere."""
    config = session.config
    folder = Path(config.folder) / "plain"
    ours = Path(config.checkpoint).resolve().parent == folder.resolve().parent
    if not ours or not folder.is_dir():
        log.info("no plain model beside this checkpoint: drops count from its own speedup 1")
        return None
    run = read_metadata(Path(config.checkpoint)).notes.get("run")
    if run is not None and read_metadata(folder).notes.get("run") != run:
        log.warning("%s comes from another run than this checkpoint and is left out", folder)
        return None
    return plain(session, folder)


def plain(session: Session, folder: Path) -> PreTrainedModel:
    """The full model of a folder as transformers runs it: in bf16 beside a bf16 dial, else in fp32."""
    model, _ = checkpoint.load(folder, head=head_of(session.config))
    return as_plain(model).to(device=session.device, dtype=DTYPES[kernel_of(session.model).precision])
