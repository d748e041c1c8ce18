"""The comparison of `latadj sweep`: several models of one task, in every precision, against the plain one."""

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from latadj.benchmark.memory import footprint
from latadj.benchmark.timer import percentiles_ms, speedup
from latadj.checkpoints import checkpoint
from latadj.commands.common.served_models import batches_to_time, seconds_and_noise
from latadj.commands.evaluation.variants import ComparisonSession, ModelVariant, predictions_of
from latadj.devices.environment import environment
from latadj.elimination.attach import attached, topk_attention_of
from latadj.elimination.cost import flops, full_flops
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import kernel_of
from latadj.reporting.results.comparison import REFERENCE, Comparison, ModelRow, Tried
from latadj.reporting.results.dial_sweep import Measured
from latadj.tasks.encoding.batches import Batch, protected_counts, rows_of
from latadj.tasks.metrics.intervals import score
from latadj.utils.console import progress

log = logging.getLogger("latadj")


def run(comparing: ComparisonSession) -> Comparison:
    """Choose speedups on validation text, then read the test split once, and time all models in turns."""
    config = comparing.config
    reference = _validate(comparing)
    tests = {name: comparing.session.encoded(part) for name, part in comparing.session.splits.tests.items()}
    rows = rows_of(next(iter(tests.values())))
    comparison = _score(comparing, reference, tests, rows)
    if config.compare.memory:
        _measure_memory(comparing, comparison)
    if config.measure.batches > 0:
        _time(comparing, comparison, rows)
    folder = Path(config.folder) / "compare"
    comparison.report(folder)
    return comparison


def _validate(comparing: ComparisonSession) -> float:
    """Choose every variant's speedup on validation text: the largest that loses at most ``compare.max_drop``.

    Returns
    -------
    the reference's metric there
    """
    session, examples, max_drop = comparing.session, comparing.validation, comparing.config.compare.max_drop
    encoded, metric = session.encoded(examples), comparing.config.task.metric
    reference = session.task_type.scores(predictions_of(session, session.model, encoded, examples), examples)[metric]
    with progress("validation", len(comparing.variants)) as steps:
        for one in comparing.variants:
            for speedup in reversed(one.speedups):
                value = one.session.task_type.scores(one.predictions(speedup, encoded, examples), examples)[metric]
                one.tried.append(Tried(speedup, value, reference - value))
                if _within(one.tried[-1], max_drop):
                    break
            last = one.tried[-1]
            if not _within(last, max_drop):
                log.warning(
                    "%s at %gx loses %.2f points on validation text, more than compare.max_drop=%g; it has no other",
                    *(one.key, last.speedup, 100 * last.drop, max_drop),
                )
            steps.advance(note=f"{one.key} {last.speedup:g}x {last.metric:.4f}")
    return reference


def _within(tried: Tried, max_drop: float) -> bool:
    return 100 * tried.drop <= max_drop + 1e-9


def _score(
    comparing: ComparisonSession, validation: float, encoded: dict[str, Dataset], rows: list[dict[str, Any]]
) -> Comparison:
    """Metric and drop of every variant at its speedup, sizes and FLOPs, without the clock.

    Parameters
    ----------
    validation : the reference's metric on validation text
    encoded : the tests by name; ``rows`` are those of the first
    """
    config, session = comparing.config, comparing.session
    examples = session.splits.tests
    first = next(iter(examples))
    labels = session.task_type.references(examples[first])
    lengths, protected = np.array([len(row["input_ids"]) for row in rows]), protected_counts(rows)
    plain = comparing.variants[0]

    def cost(one: ModelVariant, profile: Profile) -> float:
        reads = attached(one.session.model).reads
        return float(flops(one.size.shapes, profile, lengths, reads, protected).sum())

    whole = float(full_flops(plain.size.shapes, lengths).sum())
    own = cost(plain, plain.profile(1.0))
    full = predictions_of(session, session.model, encoded[first], examples[first])
    models: list[ModelRow] = []
    with progress("test", len(comparing.variants)) as steps:
        for one in comparing.variants:
            predictions, thresholds = {}, {}
            for name, part in examples.items():
                predictions[name] = one.predictions(one.tried[-1].speedup, encoded[name], part)
                thresholds = one.session.task_type.thresholds
            scored = score(config.task.metric, predictions[first], full, labels, config.seed)
            profile = one.profile(one.tried[-1].speedup)
            needed = cost(one, profile)
            models.append(
                ModelRow(
                    name=one.source.name,
                    precision=one.precision,
                    kernel=kernel_of(one.session.model).kernel,
                    checkpoint=str(one.source.folder),
                    speedup=one.tried[-1].speedup,
                    target=one.dial.target if one.dial else None,
                    profile=list(profile.keep),
                    tried=one.tried,
                    within=_within(one.tried[-1], config.compare.max_drop),
                    metric=scored.metric,
                    metric_ci=scored.metric_ci,
                    scores={
                        name: one.session.task_type.scores(predictions[name], part) for name, part in examples.items()
                    },
                    drop=scored.drop,
                    drop_ci=scored.drop_ci,
                    parameters=one.size.parameters,
                    parameters_total=one.size.total,
                    file_bytes=one.size.file_bytes,
                    flops_speedup=whole / needed,
                    flops_over_plain=own / needed,
                    topk_attention=topk.to_json() if (topk := topk_attention_of(one.session.model)) else None,
                    thresholds=thresholds,
                )
            )
            steps.advance(note=f"{one.key} {scored.metric:.4f}")
    metric = session.task_type.scores(full, examples[first])[config.task.metric]
    return Comparison(
        model=config.model.name,
        task=config.task.name,
        metric=config.task.metric,
        reference={"metric": metric, "validation": validation},
        max_drop=config.compare.max_drop,
        test_examples=len(labels),
        validation_examples=len(comparing.validation),
        candidates=comparing.candidates,
        models=models,
        left_out=comparing.left_out,
        environment=environment(session.device, ", ".join(dict.fromkeys(row.precision for row in models))),
        config=asdict(config),
        memory_shape=(config.task.batch_size, int(lengths.max())) if config.compare.memory else None,
    )


def _measure_memory(comparing: ComparisonSession, comparison: Comparison) -> None:
    """Fill in the peak memory of every row, a process each."""
    config = comparing.config
    assert comparison.memory_shape is not None
    with progress("memory", len(comparison.models)) as steps:
        for row, one in zip(comparison.models, comparing.variants, strict=True):
            make = partial(_model_of, str(one.source.folder), config.head)
            kernel, profile = kernel_of(one.session.model), one.profile(row.speedup)
            row.memory_mb = footprint(make, config.device, comparison.memory_shape, kernel, profile)
            steps.advance()


def _model_of(folder: str, head: str) -> PreTrainedModel:
    return checkpoint.load(folder, head=head)[0]


def _time(comparing: ComparisonSession, comparison: Comparison, rows: list[dict[str, Any]]) -> None:
    """Fill in the clock's part of every row: all of them and the reference take turns in one run."""
    config, session = comparing.config, comparing.session
    batches = batches_to_time(session, rows, config.measure.batches)["bucketed"]

    def full(batch: Batch) -> object:
        with torch.inference_mode():
            return session.outputs(session.model, batch).cpu()

    def cut(batch: Batch, one: ModelVariant) -> object:
        with torch.inference_mode(), one.at(one.tried[-1].speedup) as model:
            return one.session.outputs(model, batch).cpu()

    work: dict[str, Any] = {REFERENCE: [partial(full, batch) for batch in batches]}
    for one in comparing.variants:
        work[one.key] = [partial(cut, batch, one) for batch in batches]
    seconds, comparison.environment["quiet"] = seconds_and_noise(work, config.measure, session.device)
    plain = comparing.variants[0].source.name
    for row in comparison.models:
        own = seconds[row.key]
        over_reference, over_plain = (
            Measured.of(speedup(seconds[name], own, config.seed)) for name in (REFERENCE, f"{plain} {row.precision}")
        )
        row.clocked(over_reference, over_plain, percentiles_ms(own))
    comparison.samples_s = {name: values.tolist() for name, values in seconds.items()}
    comparison.batch_texts, comparison.batch_lengths = (
        [batch["input_ids"].shape[side] for batch in batches] for side in (0, 1)
    )
