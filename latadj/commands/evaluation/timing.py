"""The clock of sweep and eval: all speedups take turns, on batches, on prompts, or on one example at a time."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.benchmark.generation_timer import GenerationTimes, TimedModel, time_generation
from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import percentiles_ms, speedup, time_interleaved
from latadj.commands.common.served_models import batches_to_time, plain_model, seconds_and_noise
from latadj.commands.common.session import Session
from latadj.commands.evaluation.continuation_scorer import ContinuationScorer
from latadj.commands.evaluation.scorers import ExampleScorer
from latadj.config import EvalConfig, SweepConfig
from latadj.elimination.current_setting import at_speedup
from latadj.reporting.results.dial_sweep import Measured
from latadj.reporting.results.generation import OWN as GENERATION_OWN
from latadj.reporting.results.generation import PLAIN, GenerationSweep
from latadj.reporting.results.sweep import BASELINES, OWN, Sweep
from latadj.tasks.encoding.batches import Batch, bucketed_batches, pad
from latadj.utils.console import progress


def time_batches(scorer: ExampleScorer, sweep: Sweep) -> None:
    """Fill in the clock's part of every row: all speedups and baselines take turns in one run."""
    session, config = scorer.session, scorer.session.config
    assert isinstance(config, SweepConfig)
    batches = batches_to_time(session, scorer.timed, config.measure.batches)
    # The baselines run what a user has without latadj: the same weights through transformers' own forward.
    plain = plain_model(session)

    def at(batch: Batch, speedup: float) -> object:
        with at_speedup(session.model, speedup):
            return _forward(session, session.model, batch)

    work: dict[str, list[Any]] = {
        name: [partial(_forward, session, plain, batch) for batch in part] for name, part in batches.items()
    }
    for setting in {1.0, *(row.speedup for row in sweep.rows)}:
        work[f"{setting:g}x"] = [partial(at, batch, setting) for batch in batches["bucketed"]]
    seconds, sweep.environment["quiet"] = seconds_and_noise(work, config.measure, session.device)
    for row in sweep.rows:
        own = seconds[f"{row.speedup:g}x"]
        row.measured = {name: Measured.of(speedup(seconds[name], own, config.seed)) for name in BASELINES}
        row.measured[OWN] = Measured.of(speedup(seconds["1x"], own, config.seed))
        row.latency_ms = percentiles_ms(own)
    sweep.samples_s = {name: values.tolist() for name, values in seconds.items()}
    sweep.batch_texts, sweep.batch_lengths = (
        {name: [batch["input_ids"].shape[side] for batch in part] for name, part in batches.items()} for side in (0, 1)
    )


def _forward(session: Session, model: PreTrainedModel, batch: Batch) -> object:
    with torch.inference_mode():
        return session.outputs(model, batch).cpu()


def time_prompts(
    scorer: ContinuationScorer, sweep: GenerationSweep, prompts: int, rounds: int, warmup: int
) -> GenerationTimes:
    """Fill in the clock's part of a sweep: the plain model and every speedup take turns on ``prompts`` prompts."""
    session, encoded = scorer.session, scorer.encoded
    config, model = session.config, session.model
    chosen = np.random.default_rng(config.seed).permutation(len(encoded))[:prompts]
    variants = {PLAIN: TimedModel(scorer.plain), GENERATION_OWN: TimedModel(model, partial(at_speedup, model, 1.0))}
    for row in sweep.rows:
        variants[row.name] = TimedModel(model, partial(at_speedup, model, row.speedup))
    with NoiseMonitor() as monitor, progress("clock", 2 * (rounds + warmup)) as steps:
        times = time_generation(
            variants,
            [encoded[int(place)]["input_ids"] for place in np.sort(chosen)],
            steps=config.task.continuation_length,
            rounds=rounds,
            warmup=warmup,
            device=session.device,
            seed=config.seed,
            advance=steps.advance,
        )
    sweep.environment["quiet"] = asdict(monitor.report(times.first_token))
    sweep.clock(times, config.seed)
    return times


def time_latency(session: Session, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Latency of one example at a time, and throughput in batches of the task's size, at the dial's setting.

    Parameters
    ----------
    rows : encoded examples, of which a seeded draw is timed

    Returns
    -------
    fields of ``eval.json``, and how quiet the machine was
    """
    config = session.config
    assert isinstance(config, EvalConfig)
    order = np.random.default_rng(config.seed).permutation(len(rows))
    chosen = [rows[index] for index in order[: config.measure.examples]]

    def work(batch: Batch) -> Callable[[], object]:
        return partial(
            _forward, session, session.model, {name: tensor.to(session.device) for name, tensor in batch.items()}
        )

    with NoiseMonitor() as monitor:
        singles = [work(pad([row], session.tokenizer)) for row in chosen]
        # Each has tokens of its own in every layer, and kernels for that many are made the first time.
        warmup = config.measure.warmup
        with progress("latency at batch 1", 3 + warmup) as steps:
            alone = time_interleaved(
                {"batch 1": singles}, rounds=3, warmup=warmup, device=session.device, advance=steps.advance
            )["batch 1"]
        parts = [work(batch) for _, batch in bucketed_batches(chosen, session.tokenizer, config.task.batch_size)]
        full = [partial(_at_one, session, part) for part in parts]
        together = time_interleaved({"dial": parts, "1x": full}, rounds=5, warmup=3, device=session.device)
    measured = speedup(together["1x"], together["dial"], config.seed)
    fields: dict[str, Any] = {
        "measured": measured.median,
        "measured_ci": [measured.low, measured.high],
        "latency_ms": percentiles_ms(alone, (50, 95, 99)),
        "throughput_per_s": len(chosen) / float(np.median(together["dial"].sum(axis=1))),
        "samples_s": {
            "batch 1": alone.tolist(),
            f"batch {config.task.batch_size}": together["dial"].tolist(),
            f"batch {config.task.batch_size} at 1x": together["1x"].tolist(),
        },
    }
    return fields, asdict(monitor.report(fields["samples_s"]))


def _at_one(session: Session, work: Callable[[], object]) -> object:
    with at_speedup(session.model, 1.0):
        return work()
