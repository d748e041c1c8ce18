"""The models that a sweep compares, each loaded once and lowered to every precision."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from latadj.benchmark.kernel_selection import kernels
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.weight_files import read_headers
from latadj.commands.common.session import Session, known_labels, load_for, open_checkpoint
from latadj.commands.evaluation.compared_models import (
    ComparedModel,
    candidates_of,
    models_to_compare,
    warn_of_other_runs,
)
from latadj.config import SweepConfig
from latadj.devices.device import computes_in_bf16, keep_kernels
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import as_plain, attached
from latadj.elimination.cost import LayerShape
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.inference.serving import make_ready
from latadj.kernels.lowering import kernel_of
from latadj.pruning import parameter_count
from latadj.reporting.results.comparison import Tried
from latadj.tasks.outputs.predict import predict

log = logging.getLogger("latadj")


@dataclass(frozen=True)
class Size:
    """The size of a model in fp32, as it is saved.

    shapes : linear maps of each layer
    parameters, total : outside the embeddings, and all
    file_bytes : of its weights
    """

    shapes: tuple[LayerShape, ...]
    parameters: int
    total: int
    file_bytes: int


@dataclass
class ModelVariant:
    """One model, lowered to one precision.

    speedups : that it may run at here, by rising speedup
    tried : their metric on validation text; the last one is the chosen one
    """

    source: ComparedModel
    session: Session
    size: Size
    speedups: list[float]
    tried: list[Tried] = field(default_factory=list)

    @property
    def precision(self) -> str:
        return kernel_of(self.session.model).precision

    @property
    def dial(self) -> Dial | None:
        """Its dial, in this device's time where that was measured."""
        return attached(self.session.model).dial

    @property
    def key(self) -> str:
        return f"{self.source.name} {self.precision}"

    def profile(self, speedup: float) -> Profile:
        """The profile of a speedup."""
        return Profile.full(len(self.size.shapes)) if self.dial is None else self.dial.profile(speedup)

    @contextmanager
    def at(self, speedup: float) -> Iterator[PreTrainedModel]:
        """Its model at a speedup, inside a ``with`` block."""
        with at_profile(self.session.model, self.profile(speedup)) as model:
            yield model

    def predictions(self, speedup: float, encoded: Dataset, examples: Dataset) -> Any:
        """Its predictions at a speedup."""
        session = self.session
        with self.at(speedup) as model:
            return predictions_of(session, model, encoded, examples)


@dataclass
class ComparisonSession:
    """All models of a comparison.

    session : the first model in fp32 as transformers runs it, elimination detached
    left_out : precisions that this device does not offer
    """

    config: SweepConfig
    session: Session
    variants: list[ModelVariant]
    left_out: list[str]
    candidates: list[dict[str, Any]]

    @property
    def validation(self) -> Dataset:
        return self.session.splits.validation


def prepare(config: SweepConfig, models: list[ComparedModel] | None = None) -> ComparisonSession:
    """Load every model and lower it to every precision; writes nothing.

    Parameters
    ----------
    models : to compare, if the early check has found them
    """
    keep_kernels()
    models = models_to_compare(config) if models is None else models
    first, *others = models
    warn_of_other_runs(models)
    result = Path(config.folder) / "prune" / "prune.json"
    candidates = candidates_of(result, [model.folder for model in models])
    session = open_checkpoint(replace(config, checkpoint=str(first.folder)), first.metadata, train=True)
    offered = [precision for precision in config.compare.precisions if _offers(precision, session.device)]
    left_out = [precision for precision in config.compare.precisions if precision not in offered]
    if left_out:
        log.warning("%s left out: this device does not compute in it", ", ".join(left_out))
    if not offered:
        raise ValueError(
            f"compare.precisions={config.compare.precisions}: this device offers none; fp32 runs everywhere"
        )
    if session.task_type.refers_to_full_model:
        raise ValueError(
            f"task={config.task.name}: its right answers are the full model's own, so other models cannot be compared "
            "by them: take a task with scores, such as task=sts"
        )
    variants = []
    for source in (first, *others):
        opened = session if source is first else open_beside(session, source.folder, source.metadata)
        variants += _lowered(config, source, opened, offered)
    session.model = as_plain(session.model)
    resolved = replace(config, task=session.config.task)
    return ComparisonSession(resolved, session, variants, left_out, candidates)


def _offers(precision: str, device: torch.device) -> bool:
    """Whether a device computes in a precision, and does not emulate it."""
    try:
        kernels(precision, device)
    except ValueError:
        return False
    return precision != "bf16" or computes_in_bf16(device)


def _lowered(config: SweepConfig, source: ComparedModel, session: Session, precisions: list[str]) -> list[ModelVariant]:
    """A model in each precision; the session's own stays in fp32."""
    model = session.model
    size = Size(
        layer_shapes(model),
        parameter_count(model),
        sum(parameter.numel() for parameter in model.parameters()),
        read_headers(source.folder).bytes,
    )
    variants = []
    for precision in precisions:
        lowered = copy.deepcopy(model)
        make_ready(
            lowered,
            source.metadata,
            source.dial,
            session.device,
            precision=precision,
            target=config.dial.target,
            batch=session.batch,
            length=config.workload.length,
        )
        dial = attached(lowered).dial
        reached = [speedup for speedup in source.speedups if dial is None or dial.reaches(speedup)]
        if not reached:
            assert dial is not None
            raise ValueError(
                f"compare.models.{source.name}.speedup={source.speedups[0]:g}: this dial ends at {dial.reach():.2f}x "
                f"on this device in {precision}"
            )
        variants.append(ModelVariant(source, replace(session, model=lowered), size, reached))
    return variants


def open_beside(session: Session, folder: Path, metadata: CheckpointMetadata) -> Session:
    """Load another checkpoint, in fp32, for the same rows.

    Parameters
    ----------
    metadata : of the folder

    Raises
    ------
    ValueError
        if its outputs stand for other labels, or it reads texts in another way.
    """
    config = replace(session.config, checkpoint=str(folder))
    known, labels = known_labels(config, folder, metadata), config.task.labels
    if known and labels and [name.casefold() for name in known] != [name.casefold() for name in labels]:
        raise ValueError(f"checkpoint {folder}: its outputs stand for {known}, not for {labels}")
    model, tokenizer = load_for(config, metadata)
    other = replace(session, config=config, model=model.to(session.device), tokenizer=tokenizer, metadata=metadata)
    if tokenizer.get_vocab() != session.tokenizer.get_vocab() or other.limit != session.limit:
        raise ValueError(
            f"checkpoint {folder} reads texts in another way than {session.config.checkpoint}: it has another "
            "tokenizer or another length, so the two cannot read the same rows"
        )
    return other


def predictions_of(session: Session, model: PreTrainedModel, encoded: Dataset, examples: Dataset) -> Any:
    """A model's predictions at its present speedup."""
    session.tune_threshold(model)
    answers = predict(model, session.tokenizer, encoded, outputs=session.outputs)
    return session.task_type.predictions(answers, encoded, examples)
