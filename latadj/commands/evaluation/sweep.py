"""latadj sweep: one checkpoint, every speedup: metric, drop, agreement, FLOPs and the clock."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.benchmark.baselines import BASELINES
from latadj.benchmark.timer import percentiles_ms, speedup
from latadj.commands.common.dial_checks import require_dial
from latadj.commands.common.full_model import fine_tuned
from latadj.commands.common.full_model import plain as plain_model
from latadj.commands.common.served_model import serve, under, within_reach
from latadj.commands.common.session import Session, as_dict, open_checkpoint
from latadj.commands.common.timing import batches_to_time, timed_interleaved
from latadj.commands.evaluation import compare, sweep_generation
from latadj.commands.evaluation import variants as contestants
from latadj.commands.evaluation.predictions_file import Kept
from latadj.config import SweepConfig
from latadj.config.speedups import parse_speedups
from latadj.devices.environment import environment
from latadj.elimination.attach import at_speedup, dial_of
from latadj.elimination.cost import flops_speedup, schedule
from latadj.kernels.lowering import kernel_of
from latadj.reporting.output import show, write
from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.sweep import CONTROLS, OWN, Measured, Row, Sweep
from latadj.tasks.encoding.batches import Batch, protected_counts, rows_of
from latadj.tasks.metrics.intervals import score
from latadj.tasks.outputs.predict import predict
from latadj.utils.console import progress

log = logging.getLogger("latadj")


def prepare(config: SweepConfig) -> Session | contestants.Comparing:
    """Load checkpoint and examples, make the model ready to serve, and check that the dial reaches somewhere."""
    if config.compare.models:
        return contestants.prepare(config)
    wanted = parse_speedups(config.speedup)
    dial = require_dial(config, wanted)
    session = open_checkpoint(config)
    serve(session, dial)
    reach = dial_of(session.model).reach()
    if min(wanted) > reach:
        raise ValueError(f"speedup={config.speedup}: this dial ends at {reach:.2f}x on this device")
    return session


def run(session: Session | contestants.Comparing) -> Sweep | GenerationSweep | Comparison:
    """Turn the dial through ``speedup`` and measure, or compare several models; reads the test split."""
    if isinstance(session, contestants.Comparing):
        return compare.run(session)
    config = session.config
    assert isinstance(config, SweepConfig)
    if config.task.type == "generation":
        return sweep_generation.run(session)
    tests = {name: session.encoded(examples) for name, examples in session.splits.tests.items()}
    headline = rows_of(next(iter(tests.values())))

    work = Path(config.folder) / "sweep"
    kept = Kept(config.task, next(iter(session.splits.tests.values())))
    sweep = _score(session, within_reach(session), tests, kept)
    if config.measure.batches > 0:
        _time(session, sweep, headline)
    written = write(sweep, work)
    kept.write(work / "predictions.csv")
    show(sweep)
    log.info("wrote %s to %s", written, work)
    return sweep


def _score(session: Session, speedups: list[float], tests: dict[str, Any], kept: Kept) -> Sweep:
    """Metric, drop and agreement at every speedup, without the clock; ``kept`` gets what the model said at each."""
    config = session.config
    assert isinstance(config, SweepConfig)
    dial, route = dial_of(session.model), kernel_of(session.model)
    kind, examples = session.task_type, session.splits.tests
    rows = {name: rows_of(encoded) for name, encoded in tests.items()}
    first = next(iter(tests))
    labels = kind.references(examples[first])
    lengths = np.array([len(row["input_ids"]) for row in rows[first]])

    protected = protected_counts(rows[first])

    def answers(model: PreTrainedModel, at: float | None = None) -> dict[str, Any]:
        session.settle(model)
        said = {name: predict(model, session.tokenizer, part, outputs=session.outputs) for name, part in rows.items()}
        if at is not None:
            kept.add(at, said[first])
        return {name: kind.predictions(part, tests[name], examples[name]) for name, part in said.items()}

    def headline(predictions: dict[str, Any]) -> float:
        return kind.scores(predictions[first], examples[first])[config.task.metric]

    def scores_of(predictions: dict[str, Any]) -> dict[str, dict[str, float]]:
        return {name: kind.scores(predictions[name], examples[name]) for name in rows}

    plain = fine_tuned(session)
    found: list[Row] = []
    with progress("sweep", len(speedups) + 1 + (plain is not None)) as steps:
        with at_speedup(session.model, 1.0):
            full, settled_full = answers(session.model, 1.0), kind.settled
        steps.advance(note="full model")
        best = full
        plain_metric = plain_scores = None
        if plain is not None:
            predictions = answers(plain)
            plain_metric = headline(predictions)
            plain_scores = scores_of(predictions)
            best = predictions if plain_metric > headline(full) else full
            steps.advance(note="plain model")
        for wanted in speedups:
            with at_speedup(session.model, wanted):
                predictions = full if wanted == 1.0 else answers(session.model, wanted)
            settled = settled_full if wanted == 1.0 else kind.settled
            scored = score(config.task.metric, predictions[first], best[first], labels, config.seed)
            profile = dial.profile(wanted)
            counts = schedule(profile.keep, lengths, dial.reads, protected).sum(axis=1)
            controls = {}
            for name in CONTROLS if dial.shapes[0].causal and profile.eliminates else ():
                with under(session, profile, name):
                    controls[name] = headline(answers(session.model))
            found.append(
                Row(
                    speedup=wanted,
                    keep=[float(count / counts[0]) for count in counts[1:]],
                    profile=list(profile.keep),
                    profile_type=dial.profile_type,
                    metric=scored.metric,
                    metric_ci=scored.metric_ci,
                    scores=scores_of(predictions),
                    drop=scored.drop,
                    drop_ci=scored.drop_ci,
                    agreement=kind.agreement(predictions[first], full[first]),
                    flops_speedup=flops_speedup(dial.shapes, profile.keep, lengths, dial.reads, protected),
                    controls=controls,
                    settled=settled,
                    predicted=dial.predicted(profile) if dial.latency else None,
                )
            )
            steps.advance(note=f"{wanted:g}x {scored.metric:.4f}")
    return Sweep(
        model=config.model.name,
        task=config.task.name,
        metric=config.task.metric,
        greater_is_better=True,
        baseline_metric=headline(full),
        plain_metric=plain_metric,
        plain_scores=plain_scores,
        test_examples=len(labels),
        rows=found,
        target=dial.target,
        unreachable=[speedup for speedup in parse_speedups(config.speedup) if speedup not in speedups],
        reach=dial.reach(),
        environment={**environment(session.device, route.precision), "kernel": route.kernel},
        config=as_dict(config),
    )


def _time(session: Session, sweep: Sweep, rows: list[dict[str, Any]]) -> None:
    """Fill in the clock's part of every row: all speedups and baselines take turns in one run."""
    config = session.config
    assert isinstance(config, SweepConfig)
    batches = batches_to_time(session, rows, config.measure.batches)
    # The baselines run what a user has without latadj: the same weights through transformers' own forward.
    full = plain_model(session, Path(config.checkpoint))

    def plain(batch: Batch) -> object:
        with torch.inference_mode():
            return session.outputs(full, batch).cpu()

    def cut(batch: Batch, wanted: float) -> object:
        with torch.inference_mode(), at_speedup(session.model, wanted):
            return session.outputs(session.model, batch).cpu()

    contestants: dict[str, list[Any]] = {
        name: [lambda batch=batch: plain(batch) for batch in part] for name, part in batches.items()
    }
    for wanted in {1.0, *(row.speedup for row in sweep.rows)}:
        contestants[f"{wanted:g}x"] = [
            lambda batch=batch, wanted=wanted: cut(batch, wanted) for batch in batches["bucketed"]
        ]
    seconds, sweep.environment["quiet"] = timed_interleaved(contestants, config.measure, session.device)
    for row in sweep.rows:
        ours = seconds[f"{row.speedup:g}x"]
        row.measured = {name: Measured.of(speedup(seconds[name], ours, config.seed)) for name in BASELINES}
        row.measured[OWN] = Measured.of(speedup(seconds["1x"], ours, config.seed))
        row.latency_ms = percentiles_ms(ours)
    sweep.samples_s = {name: values.tolist() for name, values in seconds.items()}
    sweep.batch_texts, sweep.batch_lengths = (
        {name: [batch["input_ids"].shape[side] for batch in part] for name, part in batches.items()} for side in (0, 1)
    )
