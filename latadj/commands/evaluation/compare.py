"""The comparison of `latadj sweep`: several models of one task, in every precision, against the plain one."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from latadj.benchmark.footprint import footprint
from latadj.benchmark.timer import percentiles_ms, speedup
from latadj.checkpoints import checkpoint
from latadj.commands.common.session import as_dict, head_of
from latadj.commands.common.timing import batches_to_time, timed_interleaved
from latadj.commands.evaluation.variants import Comparing, ModelVariant, predictions_of
from latadj.devices.environment import environment
from latadj.elimination.attach import attached, topk_attention_of
from latadj.elimination.cost import flops, full_flops
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import kernel_of
from latadj.reporting.output import show, write
from latadj.reporting.results.comparison import REFERENCE, Comparison, ModelRow, Tried
from latadj.reporting.results.sweep import Measured
from latadj.tasks.encoding.batches import Batch, protected_counts, rows_of
from latadj.tasks.metrics.intervals import score
from latadj.utils.console import progress

log = logging.getLogger("latadj")


def run(comparing: Comparing) -> Comparison:
    """Choose speedups on validation text, then read the test split once, and let all take turns before the clock."""
    config = comparing.config
    reference = _validate(comparing)
    tests = {name: comparing.session.encoded(part) for name, part in comparing.session.splits.tests.items()}
    rows = rows_of(next(iter(tests.values())))
    comparison = _score(comparing, reference, tests, rows)
    if config.compare.memory:
        _weigh(comparing, comparison)
    if config.measure.batches > 0:
        _time(comparing, comparison, rows)
    work = Path(config.folder) / "compare"
    written = write(comparison, work)
    show(comparison)
    log.info("wrote %s to %s", written, work)
    return comparison


def _validate(comparing: Comparing) -> float:
    """Let validation text choose every contestant's speedup: the largest that loses no more than it may.

    Returns
    -------
    the reference's metric there
    """
    session, examples, most = comparing.session, comparing.validation, comparing.config.compare.max_drop
    encoded, metric = session.encoded(examples), comparing.config.task.metric
    reference = session.task_type.scores(predictions_of(session, session.model, encoded, examples), examples)[metric]
    with progress("validation", len(comparing.contestants)) as steps:
        for one in comparing.contestants:
            for wanted in reversed(one.speedups):
                found = one.session.task_type.scores(one.predictions(wanted, encoded, examples), examples)[metric]
                one.tried.append(Tried(wanted, found, reference - found))
                if _within(one.tried[-1], most):
                    break
            last = one.tried[-1]
            if not _within(last, most):
                log.warning(
                    "%s at %gx loses %.2f points on validation text, more than compare.max_drop=%g; it has no other",
                    *(one.key, last.speedup, 100 * last.drop, most),
                )
            steps.advance(note=f"{one.key} {last.speedup:g}x {found:.4f}")
    return reference


def _within(tried: Tried, most: float) -> bool:
    return 100 * tried.drop <= most + 1e-9


def _score(
    comparing: Comparing, validation: float, encoded: dict[str, Dataset], rows: list[dict[str, Any]]
) -> Comparison:
    """Metric and drop of every contestant at its speedup, sizes and FLOPs, without the clock.

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
    plain = comparing.contestants[0]

    def cost(one: ModelVariant, profile: Profile) -> float:
        reads = attached(one.session.model).reads
        return float(flops(one.size.shapes, profile.keep, lengths, reads, protected).sum())

    whole = float(full_flops(plain.size.shapes, lengths).sum())
    own = cost(plain, plain.profile(1.0))
    full = predictions_of(session, session.model, encoded[first], examples[first])
    found: list[ModelRow] = []
    with progress("test", len(comparing.contestants)) as steps:
        for one in comparing.contestants:
            said, settled = {}, {}
            for name, part in examples.items():
                said[name] = one.predictions(one.tried[-1].speedup, encoded[name], part)
                settled = one.session.task_type.settled
            scored = score(config.task.metric, said[first], full, labels, config.seed)
            profile = one.profile(one.tried[-1].speedup)
            needed = cost(one, profile)
            found.append(
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
                    scores={name: one.session.task_type.scores(said[name], part) for name, part in examples.items()},
                    drop=scored.drop,
                    drop_ci=scored.drop_ci,
                    parameters=one.size.parameters,
                    parameters_total=one.size.total,
                    file_bytes=one.size.file_bytes,
                    flops_speedup=whole / needed,
                    flops_over_plain=own / needed,
                    topk_attention=hard.to_json() if (hard := topk_attention_of(one.session.model)) else None,
                    settled=settled,
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
        models=found,
        left_out=comparing.left_out,
        environment=environment(session.device, ", ".join(dict.fromkeys(row.precision for row in found))),
        config=as_dict(config),
        memory_shape=(config.task.batch_size, int(lengths.max())) if config.compare.memory else None,
    )


def _weigh(comparing: Comparing, comparison: Comparison) -> None:
    """Fill in the peak memory of every row, a process each."""
    config = comparing.config
    assert comparison.memory_shape is not None
    with progress("memory", len(comparison.models)) as steps:
        for row, one in zip(comparison.models, comparing.contestants, strict=True):
            make = partial(_model_of, str(one.source.folder), head_of(config))
            route, profile = kernel_of(one.session.model), one.profile(row.speedup)
            row.memory_mb = footprint(make, config.device, comparison.memory_shape, route, profile)
            steps.advance()


def _model_of(folder: str, head: str) -> PreTrainedModel:
    return checkpoint.load(folder, head=head)[0]


def _time(comparing: Comparing, comparison: Comparison, rows: list[dict[str, Any]]) -> None:
    """Fill in the clock's part of every row: all of them and the reference take turns in one run."""
    config, session = comparing.config, comparing.session
    batches = batches_to_time(session, rows, config.measure.batches)["bucketed"]

    def full(batch: Batch) -> object:
        with torch.inference_mode():
            return session.outputs(session.model, batch).cpu()

    def cut(batch: Batch, one: ModelVariant) -> object:
        with torch.inference_mode(), one.at(one.tried[-1].speedup) as model:
            return one.session.outputs(model, batch).cpu()

    contestants: dict[str, Any] = {REFERENCE: [partial(full, batch) for batch in batches]}
    for one in comparing.contestants:
        contestants[one.key] = [partial(cut, batch, one) for batch in batches]
    seconds, comparison.environment["quiet"] = timed_interleaved(contestants, config.measure, session.device)
    plain = comparing.contestants[0].source.name
    for row in comparison.models:
        ours = seconds[row.key]
        over_reference, over_plain = (
            Measured.of(speedup(seconds[name], ours, config.seed)) for name in (REFERENCE, f"{plain} {row.precision}")
        )
        row.clocked(over_reference, over_plain, percentiles_ms(ours))
    comparison.samples_s = {name: values.tolist() for name, values in seconds.items()}
    comparison.batch_texts, comparison.batch_lengths = (
        [batch["input_ids"].shape[side] for batch in batches] for side in (0, 1)
    )
