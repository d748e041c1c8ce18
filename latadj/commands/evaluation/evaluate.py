"""latadj eval: metric, latency and predictions at one position of the dial."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import percentiles_ms, speedup, time_interleaved
from latadj.commands.common.dial_checks import require_dial
from latadj.commands.common.served_model import serve
from latadj.commands.common.session import Session, as_dict, open_checkpoint
from latadj.commands.evaluation import evaluate_generation
from latadj.commands.evaluation.region_survival import survivors_by_region
from latadj.config import EvalConfig
from latadj.config.speedups import one_speedup
from latadj.devices.environment import environment
from latadj.elimination.attach import at_speedup, dial_of, set_speedup
from latadj.kernels.lowering import kernel_of
from latadj.reporting.table import Document
from latadj.reporting.tables import regions as region_table
from latadj.tasks.encoding.batches import Batch, bucketed_batches, pad, rows_of
from latadj.tasks.metrics.intervals import score
from latadj.tasks.outputs.predict import predict
from latadj.utils.console import console, progress
from latadj.utils.files import atomic_write, write_json

log = logging.getLogger("latadj")


def prepare(config: EvalConfig) -> Session:
    """Load checkpoint and examples, make the model ready to serve, and turn the dial."""
    wanted = one_speedup(config.speedup, "eval")
    dial = require_dial(config, [wanted])
    session = open_checkpoint(config)
    serve(session, dial)
    set_speedup(session.model, wanted)
    return session


def run(session: Session) -> dict[str, Any]:
    """Evaluate at one speedup; reads the test split.

    Returns
    -------
    what ``eval/eval.json`` holds
    """
    config = session.config
    assert isinstance(config, EvalConfig)
    if config.task.type == "generation":
        return evaluate_generation.run(session)
    wanted, dial, route = one_speedup(config.speedup, "eval"), dial_of(session.model), kernel_of(session.model)
    kind = session.task_type
    work = Path(config.folder) / "eval"
    scores, intervals = {}, {}
    rows: list[dict[str, Any]] = []
    session.settle(session.model)
    for name, examples in session.splits.tests.items():
        encoded = session.encoded(examples)
        answers = predict(session.model, session.tokenizer, encoded, outputs=session.outputs)
        predictions, labels = kind.predictions(answers, encoded, examples), kind.references(examples)
        scores[name] = kind.scores(predictions, examples)
        intervals[name] = score(config.task.metric, predictions, predictions, labels, config.seed).metric_ci
        suffix = "" if name == next(iter(session.splits.tests)) else f"-{name}"
        with atomic_write(work / f"predictions{suffix}.csv") as temporary:
            kind.table(examples, predictions, answers).to_csv(temporary, index=False)
        for file, content in kind.files(answers, encoded, examples).items():
            write_json(work / f"{file}{suffix}.json", content)
        if not rows:
            rows, headline = rows_of(encoded), encoded

    with NoiseMonitor() as watch:
        latency = _latency(session, rows)
    quiet = asdict(watch.report(latency["samples_s"]))
    regions = None
    if session.prompts is not None:
        some = headline.select(range(min(config.measure.examples, len(headline))))
        profile = dial.profile(wanted)
        regions = survivors_by_region(session.model, session.tokenizer, some, profile, session.outputs)
    result = {
        "schema": "latadj.eval/1",
        "model": config.model.name,
        "task": config.task.name,
        "metric": config.task.metric,
        "speedup": wanted,
        "keep": list(dial.profile(wanted).keep),
        "flops_speedup": dial.speedup_of(dial.profile(wanted)),
        "target": dial.target,
        "predicted": dial.predicted(dial.profile(wanted)) if dial.latency else None,
        "scores": scores,
        "metric_ci": intervals,
        "settled": kind.settled,
        **latency,
        "regions": regions and asdict(regions),
        "environment": {**environment(session.device, route.precision), "kernel": route.kernel, "quiet": quiet},
        "config": as_dict(config),
    }
    write_json(work / "eval.json", result)
    _print(result)
    if regions is not None:
        Document([region_table.table(regions)]).print()
    log.info("wrote eval.json and predictions.csv to %s", work)
    return result


def _latency(session: Session, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Percentiles one example at a time, and examples a second in batches of the task's size."""
    config = session.config
    assert isinstance(config, EvalConfig)
    order = np.random.default_rng(config.seed).permutation(len(rows))
    chosen = [rows[index] for index in order[: config.measure.examples]]

    def work(batch: Batch) -> Any:
        batch = {name: tensor.to(session.device) for name, tensor in batch.items()}

        def once() -> object:
            with torch.inference_mode():
                return session.outputs(session.model, batch).cpu()

        return once

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
    return {
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


def _at_one(session: Session, work: Callable[[], object]) -> object:
    with at_speedup(session.model, 1.0):
        return work()


def _print(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['model']} on {result['task']} at {result['speedup']:g}x", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95%", justify="right")
    for split, scores in result["scores"].items():
        for name, value in scores.items():
            low, high = result["metric_ci"][split]
            interval = f"{100 * low:.1f}–{100 * high:.1f}" if name == result["metric"] else ""
            table.add_row(f"{name} ({split})", f"{100 * value:.2f}", interval)
    for name, value in result["settled"].items():
        table.add_row(f"{name}, by validation", f"{value:.3f}", "")
    table.add_row("speedup asked for", f"{result['speedup']:.2f}x", f"in {result['target']}")
    if result["predicted"] is not None:
        table.add_row("predicted, over 1x", f"{result['predicted']:.2f}x", "")
    low, high = result["measured_ci"]
    table.add_row("measured, over 1x", f"{result['measured']:.2f}x", f"{low:.2f}–{high:.2f}")
    table.add_row("FLOPs, over the plain model", f"{result['flops_speedup']:.2f}x", "")
    for name, value in result["latency_ms"].items():
        table.add_row(f"latency {name}, batch 1", f"{value:.1f} ms", "")
    size = result["config"]["task"]["batch_size"]
    table.add_row(f"throughput, batch {size}", f"{result['throughput_per_s']:.0f}/s", "")
    console.print(table)
