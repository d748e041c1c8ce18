"""The clock of sweeps and of pruning: its batches, and the work that takes turns on them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from latadj.benchmark.baselines import batches_of
from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import Work, time_interleaved
from latadj.commands.common.session import Session
from latadj.config import SweepMeasureConfig
from latadj.tasks.encoding.batches import Batch
from latadj.utils.console import progress


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


def timed_interleaved(
    work: Mapping[str, Work], measure: SweepMeasureConfig, device: torch.device
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Seconds of each name's work, (rounds, pieces), and how quiet the machine was."""
    with NoiseMonitor() as monitor, progress("clock", measure.repeats + measure.warmup) as steps:
        seconds = time_interleaved(
            work, rounds=measure.repeats, warmup=measure.warmup, device=device, advance=steps.advance
        )
    return seconds, asdict(monitor.report(seconds))
