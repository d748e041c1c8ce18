"""What several commands need: device, splits, model, encoded examples."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils import logging as transformers_logging

from latadj import checkpoint, device
from latadj.checks import parse_speedups
from latadj.config import CommandConfig, EvalConfig, RunConfig, SweepConfig
from latadj.elimination.attach import dial_of
from latadj.elimination.profile import Dial
from latadj.serving import make_ready
from latadj.sidecar import read_sidecar
from latadj.tasks.data import load_splits
from latadj.tasks.encode import encode, token_limit
from latadj.tasks.metrics import metric_of
from latadj.tasks.splits import Splits
from latadj.tasks.windows import context_length, cut

log = logging.getLogger("latadj")


@dataclass
class Session:
    """A loaded model and the examples it is asked about."""

    config: CommandConfig
    device: torch.device
    splits: Splits
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def encoded(self, examples: Dataset) -> Dataset:
        """The examples as token ids: texts cut to what the task and the model allow, or prompts with continuations."""
        task = self.config.task
        if task.kind == "generation":
            return cut(examples, self.tokenizer, task, context_length(self.model))
        return encode(examples, self.tokenizer, task, token_limit(self.model, self.tokenizer, task))


def set_up(config: CommandConfig) -> torch.device:
    """Seed, threads and quiet libraries; returns the device."""
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    set_seed(config.seed)
    if config.task.kind == "classification":
        metric_of(config.task.metric)
    return device.choose(config.device)


def open_checkpoint(config: CommandConfig) -> Session:
    """Load the command's checkpoint, in fp32, and its task's examples."""
    chosen = set_up(config)
    splits = load_splits(config.task)
    model, tokenizer = checkpoint.load(config.checkpoint, head=config.task.kind)
    outputs = len(config.task.labels) or 1
    if config.task.kind == "classification" and model.config.num_labels != outputs:
        raise ValueError(
            f"checkpoint {config.checkpoint} has {model.config.num_labels} outputs, "
            f"task={config.task.name} needs {outputs}: it is for another task"
        )
    return Session(config, chosen, splits, model.to(chosen), tokenizer)


def serve(session: Session, dial: Dial) -> None:
    """Lower the session's model to the precision asked for, with ``dial`` marked in this device's time if it can be."""
    config = session.config
    assert isinstance(config, (SweepConfig, EvalConfig))
    make_ready(
        session.model,
        read_sidecar(Path(config.checkpoint)),
        dial,
        session.device,
        precision=config.device.precision,
        target=config.dial.target,
        batch=config.workload.batch or config.task.batch_size,
        length=config.workload.length,
    )


def within_reach(session: Session) -> list[float]:
    """The speedups asked for that the dial reaches on this device; says which it does not."""
    config = session.config
    assert isinstance(config, (SweepConfig, EvalConfig))
    dial = dial_of(session.model)
    wanted = parse_speedups(config.speedup)
    found = [speedup for speedup in wanted if dial.reaches(speedup)]
    if len(found) < len(wanted):
        left = ", ".join(f"{speedup:g}" for speedup in wanted if speedup not in found)
        log.warning("speedup %s left out: this dial ends at %.2fx on this device", left, dial.reach())
    return found


def as_dict(config: RunConfig) -> dict[str, Any]:
    """The composed config, for a result file."""
    return asdict(config)
