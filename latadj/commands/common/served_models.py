"""The models that evaluations run, the full ones beside them, and the batches and the clock to time them with."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.benchmark.baselines import batches_of
from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import Work, time_interleaved
from latadj.checkpoints.metadata import CheckpointMetadata, read_metadata
from latadj.commands.common.session import Session, open_checkpoint
from latadj.config import EvalConfig, SweepConfig, SweepMeasureConfig
from latadj.inference.serving import load_plain, make_ready
from latadj.kernels.lowering import kernel_of
from latadj.tasks.encoding.batches import Batch
from latadj.utils.console import progress
from latadj.utils.files import real_path

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
    same_run_folder = real_path(config.checkpoint).parent == real_path(folder).parent
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


def batches_to_time(session: Session, rows: list[dict[str, Any]], count: int) -> dict[str, list[Batch]]:
    """So many batches of each baseline, on the session's device."""
    batches = batches_of(
        rows,
        session.tokenizer,
        batches=count,
        batch_size=session.config.task.batch_size,
        max_length=session.limit,
    )
    return {
        name: [{key: tensor.to(session.device) for key, tensor in batch.items()} for batch in part]
        for name, part in batches.items()
    }


def seconds_and_noise(
    work: Mapping[str, Work], measure: SweepMeasureConfig, device: torch.device
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Seconds of each name's work, (rounds, pieces), and how quiet the machine was."""
    with NoiseMonitor() as monitor, progress("clock", measure.repeats + measure.warmup) as steps:
        seconds = time_interleaved(
            work, rounds=measure.repeats, warmup=measure.warmup, device=device, advance=steps.advance
        )
    return seconds, asdict(monitor.report(seconds))
