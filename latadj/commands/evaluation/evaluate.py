"""latadj eval: one position of the dial: metric, latency one by one, and predictions."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latadj.benchmark.timer import percentiles_ms
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.checks import require_dial
from latadj.commands.common.served_models import open_served
from latadj.commands.common.session import Session
from latadj.commands.evaluation.continuation_scorer import ContinuationScorer
from latadj.commands.evaluation.mteb_scorer import MtebScorer
from latadj.commands.evaluation.scorers import ExampleScorer
from latadj.commands.evaluation.sweep import score_dial
from latadj.commands.evaluation.timing import time_latency, time_prompts
from latadj.config import EvalConfig
from latadj.config.options.task import MTEB
from latadj.devices.environment import environment
from latadj.elimination.current_setting import set_speedup
from latadj.inference.region_survival import RegionShares, survivors_by_region
from latadj.kernels.lowering import kernel_of
from latadj.reporting.results.by_length import LengthGroup, by_length_tables, length_warnings
from latadj.reporting.results.sweep import points
from latadj.reporting.table import Column, Document, Table
from latadj.tasks.metrics.intervals import score
from latadj.utils.csv_text import frame_csv
from latadj.utils.files import write_json, write_text
from latadj.utils.serialization import unstructure

log = logging.getLogger("latadj")
ROUNDS, WARMUP = 5, 3


def prepare(config: EvalConfig, checked: CheckpointMetadata | None = None) -> Session:
    """Load checkpoint and examples, make the model ready to serve, and turn the dial.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them
    """
    session = open_served(config, checked or require_dial(config, [config.speedup]))
    set_speedup(session.model, config.speedup)
    return session


def run(session: Session) -> dict[str, Any]:
    """Evaluate at one speedup; reads the test split.

    Returns
    -------
    what ``eval/eval.json`` holds, or of a task of mteb ``eval/mteb.json``
    """
    folder = Path(session.config.folder) / "eval"
    if session.config.task.type == MTEB:
        assert isinstance(session.config, EvalConfig)
        found = score_dial(MtebScorer(session), [session.config.speedup], controls=False)
        found.report(folder)
        return found.to_json()
    evaluate = _continuations if session.task_type.scores_continuations else _examples
    result = evaluate(session, folder)
    write_json(folder / "eval.json", result)
    _document(result).print()
    log.info("wrote eval.json and predictions.csv to %s", folder)
    return result


def _examples(session: Session, folder: Path) -> dict[str, Any]:
    """Scores of every test split, latencies, predictions and, of prompts, which regions survive."""
    config, scorer, task_type = session.config, ExampleScorer(session), session.task_type
    assert isinstance(config, EvalConfig)
    dial, served = scorer.dial, kernel_of(session.model)
    speedup = config.speedup
    # The last to answer decides which thresholds the files below are written with.
    full = scorer.at(1.0) if speedup != 1 else None
    profile, answers = dial.profile(speedup), scorer.at(speedup)
    own = answers if full is None else full
    intervals = {}
    for name, examples in scorer.examples.items():
        outputs, predictions = answers.outputs[name], answers.predictions[name]
        references = task_type.references(examples)
        intervals[name] = score(config.task.metric, predictions, predictions, references, config.seed).metric_ci
        suffix = "" if name == scorer.headline else f"-{name}"
        table = task_type.table(examples, predictions, outputs)
        write_text(folder / f"predictions{suffix}.csv", frame_csv(table, escape=config.escape_formulas))
        for file, content in task_type.files(outputs, scorer.tests[name], examples).items():
            write_json(folder / f"{file}{suffix}.json", content)
    latency, quiet = time_latency(session, scorer.timed)
    regions = None
    if session.prompts is not None:
        encoded = scorer.tests[scorer.headline]
        some = encoded.select(range(min(config.measure.examples, len(encoded))))
        regions = asdict(survivors_by_region(session.model, session.tokenizer, some, profile, session.outputs))
    return {
        "schema": "latadj.eval/2",
        "model": config.model.name,
        "task": config.task.name,
        "metric": config.task.metric,
        "speedup": speedup,
        "keep": list(profile.keep),
        "level": unstructure(profile.level),
        "flops_speedup": dial.speedup_of(profile),
        "target": dial.target,
        "predicted": dial.predicted(profile) if dial.latency else None,
        "scores": scorer.scores(answers),
        "metric_ci": intervals,
        "thresholds": answers.thresholds,
        "drop": scorer.metric(own) - scorer.metric(answers),
        "by_length": [asdict(group) for group in scorer.by_length(answers, own, own)],
        **latency,
        "regions": regions,
        "environment": {**environment(session.device, served.precision), "kernel": served.kernel, "quiet": quiet},
        "config": asdict(config),
    }


def _continuations(session: Session, folder: Path) -> dict[str, Any]:
    """A sweep of one row without controls, with percentiles of the time to first token, and predictions."""
    config, scorer = session.config, ContinuationScorer(session)
    assert isinstance(config, EvalConfig)
    speedup = config.speedup
    answers: dict[float, np.ndarray] = {}
    sweep = score_dial(scorer, [speedup], controls=False, on_answers=answers.__setitem__)
    table = scorer.task_type.table(scorer.encoded, answers[speedup], None)
    write_text(folder / "predictions.csv", frame_csv(table, escape=config.escape_formulas))
    times = time_prompts(scorer, sweep, config.measure.prompts, ROUNDS, WARMUP)
    (row,) = sweep.rows
    shared = ("model", "task", "metric", "greater_is_better", "baseline_metric", "plain_metric", "target")
    clock = ("plain_ttft_ms", "plain_tokens_per_s", "plain_cache_bytes", "samples_s", "environment", "config")
    fields = {key: value for key, value in asdict(row).items() if not key.startswith(("metric", "controls", "over_"))}
    return {
        "schema": "latadj.eval.generation/2",
        **{name: getattr(sweep, name) for name in shared},
        **fields,
        "scores": {scorer.headline: {sweep.metric: row.metric}},
        "metric_ci": {scorer.headline: row.metric_ci},
        "ttft_percentiles_ms": percentiles_ms(times.first_token[row.name], (50, 95, 99)),
        **{name: getattr(sweep, name) for name in clock},
    }


def _document(result: dict[str, Any]) -> Document:
    """What ``eval.json`` holds, for the terminal."""
    generates, metric_scale = "ttft_own" in result, 1 if "ttft_own" in result else 100
    rows: list[tuple[str, str, str]] = []

    def add(name: str, value: str, ci: Sequence[float] | None = None, form: str = ".2f") -> None:
        rows.append((name, value, "" if ci is None else f"{ci[0]:{form}} to {ci[1]:{form}}"))

    for split, scores in result["scores"].items():
        for name, value in scores.items():
            ends = [metric_scale * end for end in result["metric_ci"][split]] if name == result["metric"] else None
            add(f"{name} ({split})", f"{metric_scale * value:.2f}", ends)
    for name, value in result.get("thresholds", {}).items():
        add(f"{name}, by validation", f"{value:.3f}")
    if generates:
        add("increase, over the full model", f"{result['increase']:+.1%}", result["increase_ci"], "+.1%")
    add("requested speedup", f"{result['speedup']:.2f}x, in {result['target']}")
    if result["predicted"] is not None:
        add("predicted, over 1x", f"{result['predicted']:.2f}x")
    if generates:
        add("first token, over 1x", f"{result['ttft_own']:.2f}x", result["ttft_own_ci"])
        add("first token, over the plain model", f"{result['ttft_speedup']:.2f}x", result["ttft_ci"])
        for name, value in result["ttft_percentiles_ms"].items():
            add(f"first token {name}", f"{value:.1f} ms")
        add("decoding", f"{result['decode_tokens_per_s']:.1f} tokens/s")
        add("decoding, over the plain model", f"{result['decode_speedup']:.2f}x", result["decode_ci"])
        add("cache, of the plain model's", f"{result['cache_bytes_ratio']:.0%}")
    else:
        add("measured, over 1x", f"{result['measured']:.2f}x", result["measured_ci"])
        for name, value in result["latency_ms"].items():
            add(f"latency {name}, batch 1", f"{value:.1f} ms")
        size = result["config"]["task"]["batch_size"]
        add(f"throughput, batch {size}", f"{result['throughput_per_s']:.0f}/s")
    add("FLOPs, over the plain model", f"{result['flops_speedup']:.2f}x")
    title = f"{result['model']} on {result['task']} at {result['speedup']:g}x"
    tables = [Table.of_cells(title, ["", "value", "95%"], rows)]
    name, written = ("increase", "{:+.1%}".format) if generates else ("drop", points)
    groups = [LengthGroup(**group) for group in result["by_length"]]
    at = f"{result['speedup']:g}x"
    tables += by_length_tables({at: groups}, f"{name} from 1x" if not generates else "increase of perplexity", written)
    warnings = length_warnings(at, result[name], groups)
    if result.get("regions"):
        tables.append(region_table(RegionShares(**result["regions"])))
    return Document(tables, warnings)


def region_table(regions: RegionShares) -> Table:
    """A row for each layer, a column for each region: percent of its tokens that leave the layer."""
    columns = [Column("layer", lambda layer: layer + 1)]
    for name, tokens in regions.tokens.items():
        columns.append(Column(f"{name} ({tokens:.0f})", regions.shares[name].__getitem__, "{:.1f}%", 100))
    return Table("survivors by region (tokens)", columns, range(len(next(iter(regions.shares.values())))))
