"""latadj eval on a generation task: perplexity, time to first token and decoding at one position of the dial."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from rich.table import Table

from latadj.benchmark.timer import percentiles_ms
from latadj.commands.common.full_model import plain
from latadj.commands.common.session import Session
from latadj.commands.evaluation.sweep_generation import score_dial, time_dial
from latadj.config import EvalConfig
from latadj.reporting.results.generation import GenerationSweep
from latadj.utils.console import console
from latadj.utils.files import atomic_write, write_json

log = logging.getLogger("latadj")
ROUNDS, WARMUP = 5, 3


def run(session: Session) -> dict[str, Any]:
    """Evaluate at one speedup; reads the test split.

    Returns
    -------
    what ``eval/eval.json`` holds
    """
    config = session.config
    assert isinstance(config, EvalConfig)
    wanted = config.speedup
    work, full = Path(config.folder) / "eval", plain(session, Path(config.checkpoint))
    sweeps: dict[str, GenerationSweep] = {}
    for name, examples in session.splits.tests.items():
        encoded = session.encoded(examples)
        sweeps[name], (nll,) = score_dial(session, encoded, [wanted], full)
        suffix = f"-{name}" if len(sweeps) > 1 else ""
        _write_predictions(work / f"predictions{suffix}.csv", encoded, nll)
        if len(sweeps) == 1:
            first = encoded
    headline = next(iter(sweeps.values()))
    times = time_dial(session, first, headline, full, config.measure.prompts, ROUNDS, WARMUP)
    result = _result(sweeps, percentiles_ms(times.first_token[headline.rows[0].name], (50, 95, 99)))
    write_json(work / "eval.json", result)
    _print(result)
    log.info("wrote eval.json and predictions.csv to %s", work)
    return result


def _result(sweeps: dict[str, GenerationSweep], latency_ms: dict[str, float]) -> dict[str, Any]:
    """Row and surroundings of the headline split, with the scores of all of them."""
    headline = next(iter(sweeps.values()))
    (row,) = headline.rows
    kept = ("model", "task", "metric", "greater_is_better", "baseline_metric", "plain_metric", "target")
    clock = ("plain_ttft_ms", "plain_tokens_per_s", "plain_cache_bytes", "samples_s", "environment", "config")
    left = {key: value for key, value in asdict(row).items() if not key.startswith(("metric", "controls", "over_"))}
    return {
        "schema": "latadj.eval.generation/1",
        **{name: getattr(headline, name) for name in kept},
        **left,
        "scores": {name: {found.metric: found.rows[0].metric} for name, found in sweeps.items()},
        "metric_ci": {name: found.rows[0].metric_ci for name, found in sweeps.items()},
        "ttft_percentiles_ms": latency_ms,
        **{name: getattr(headline, name) for name in clock},
    }


def _write_predictions(path: Path, encoded: Dataset, nll: np.ndarray) -> None:
    tokens = np.array([len(continuation) for continuation in encoded["continuation"]])
    columns = {
        "document": encoded["document"],
        "prompt_tokens": encoded["length"],
        "continuation_tokens": tokens,
        "negative_log_likelihood": nll,
        "perplexity": np.exp(nll / tokens),
    }
    with atomic_write(path) as temporary:
        pd.DataFrame(columns).to_csv(temporary, index=False)


def _print(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['model']} on {result['task']} at {result['speedup']:g}x", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95%", justify="right")

    def add(name: str, value: str, ci: tuple[float, float] | None = None, form: str = ".2f") -> None:
        table.add_row(name, value, "" if ci is None else f"{ci[0]:{form}} to {ci[1]:{form}}")

    for split, scores in result["scores"].items():
        for name, value in scores.items():
            add(f"{name} ({split})", f"{value:.2f}", result["metric_ci"][split])
    add("increase, over the full model", f"{result['increase']:+.1%}", result["increase_ci"], "+.1%")
    add("speedup asked for", f"{result['speedup']:.2f}x, in {result['target']}")
    if result["predicted"] is not None:
        add("first token, predicted, over 1x", f"{result['predicted']:.2f}x")
    add("first token, over 1x", f"{result['ttft_own']:.2f}x", result["ttft_own_ci"])
    add("first token, over the plain model", f"{result['ttft_speedup']:.2f}x", result["ttft_ci"])
    add("FLOPs of the prefill, over the plain model", f"{result['flops_speedup']:.2f}x")
    for name, value in result["ttft_percentiles_ms"].items():
        add(f"first token {name}", f"{value:.1f} ms")
    add("decoding", f"{result['decode_tokens_per_s']:.1f} tokens/s")
    add("decoding, over the plain model", f"{result['decode_speedup']:.2f}x", result["decode_ci"])
    add("cache, of the plain model's", f"{result['cache_bytes_ratio']:.0%}")
    console.print(table)
