"""Run folders for tests of `latadj report`, made by hand in the form that commands write."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from latadj.reporting.results.dial_sweep import Measured
from latadj.reporting.results.generation import GenerationRow, GenerationSweep
from latadj.reporting.results.sweep import Row, Sweep
from latadj.utils.files import write_json

ENVIRONMENT = {
    **{"device": "cpu", "processor": "A <Processor>", "precision": "fp32", "kernel": "onednn", "threads": 1},
    **{"cores": 2, "affinity": [0, 1], "cpu_flags": ["avx2"], "platform": "Linux", "python": "3.11.7"},
    **{"packages": {"torch": "2.13.0"}, "commit": "abc123", "time": "2026-11-25T01:02:03+00:00"},
    "quiet": {"busy_elsewhere": 0.5, "steal": 0.0, "spread": 0.02, "noisy": True, "warning": "others used 50%"},
}
CONFIG = {"task": {"name": "films", "batch_size": 4}, "folder": "outputs/<films>", "seed": 0, "prompt": None}
SPEEDUPS = (1.0, 1.5, 2.0, 3.0)
NASTY = [
    "<script>alert(1)</script> & <b>bold</b>",
    "</script><script>alert('x')</script>",
    'quotes " and \' and `, "a, b",\na new line',
    "emoji 🎬 and 电影, NA",
    "NA",
]


def row(speedup: float, **other: Any) -> Row:
    loss = 0.013 * (speedup - 1)
    ci = (speedup * 0.95, speedup * 1.04)
    found = Row(
        speedup=speedup,
        keep=[1.0 / speedup, 0.5 / speedup, 0.1],
        profile=[1.0 / speedup, 0.5 / speedup, 0.5 / speedup],
        profile_type="searched",
        metric=0.8 - loss,
        metric_ci=(0.77 - loss, 0.83 - loss),
        scores={"test": {"accuracy": 0.8 - loss}},
        drop=loss + 0.004,
        drop_ci=(loss - 0.01, loss + 0.02),
        agreement=1.0 - loss,
        flops_speedup=1.1 * speedup,
        predicted=speedup,
        measured={
            "dial_1": Measured(speedup * 1.02, ci),
            "bucketed": Measured(speedup * 2.04, (speedup * 1.9, speedup * 2.1)),
            "batch_padded": Measured(speedup * 3, ci),
            "max_padded": Measured(speedup * 9, ci),
        },
        latency_ms={"p50": 60 / speedup, "p95": 110 / speedup},
    )
    return replace(found, **other)


def sweep(**other: Any) -> Sweep:
    seconds = [[0.01 * (place + 1) for place in range(5)]] * 3
    variants = ("bucketed", "batch_padded", "max_padded", *(f"{speedup:g}x" for speedup in SPEEDUPS))
    found = Sweep(
        model="minilm",
        task="films",
        metric="accuracy",
        greater_is_better=True,
        baseline_metric=0.8,
        plain_metric=0.804,
        test_examples=40,
        rows=[row(speedup) for speedup in SPEEDUPS],
        environment=ENVIRONMENT,
        config=CONFIG,
        target="latency",
        unreachable=[5.0],
        reach=3.6,
        samples_s=dict.fromkeys(variants, seconds),
        batch_lengths={"bucketed": [8, 12, 20, 31, 40]},
        batch_texts={"bucketed": [4, 4, 4, 4, 1]},
    )
    return replace(found, **other)


def untimed(found: Sweep) -> Sweep:
    """The same without the clock, marked in FLOPs."""
    rows = [replace(one, measured={}, latency_ms={}, predicted=None) for one in found.rows]
    quiet = {key: value for key, value in ENVIRONMENT.items() if key != "quiet"}
    return replace(found, rows=rows, samples_s={}, batch_lengths={}, batch_texts={}, target="flops", environment=quiet)


def generation(timed: bool = True) -> GenerationSweep:
    clock: dict[str, Any] = {}
    if timed:
        clock = {"ttft_ci": (1.9, 2.2), "ttft_own_ci": (1.4, 1.6), "ttft_ms": 144.0, "decode_tokens_per_s": 49.0}
        clock |= {"decode_speedup": 1.4, "decode_ci": (1.3, 1.5), "cache_bytes": 1e6, "cache_bytes_ratio": 0.48}
    rows = [
        GenerationRow(
            speedup=speedup,
            keep=[0.9 / speedup] * 30,
            profile=[0.9 / speedup] * 30,
            profile_type="searched",
            metric=19 + speedup,
            metric_ci=(16.0, 24.0),
            increase=0.02 * speedup,
            increase_ci=(0.01, 0.05 * speedup),
            flops_speedup=speedup,
            predicted=speedup if timed else None,
            controls={"recent": 20 + speedup, "random": 60 * speedup},
            ttft_speedup=1.3 * speedup if timed else None,
            ttft_own=speedup if timed else None,
            **clock,
        )
        for speedup in (1.0, 1.5, 2.0)
    ]
    names = ("plain", "1x", "1.5x", "2x")
    return GenerationSweep(
        model="smollm2",
        task="speeches",
        metric="perplexity",
        baseline_metric=19.9,
        plain_metric=20.5,
        test_examples=43,
        documents=26,
        prompt_length=768.0,
        continuation_length=64.0,
        rows=rows,
        environment=ENVIRONMENT,
        config=CONFIG,
        target="latency" if timed else "flops",
        plain_ttft_ms=390.0 if timed else None,
        samples_s={"ttft": dict.fromkeys(names, [[0.2, 0.3]] * 3)} if timed else {},
    )


def calibrate(layers: int = 3, by_rank: bool = True) -> dict[str, Any]:
    shares = [[2.0 - 0.03 * rank for rank in range(50)] for _ in range(layers)]
    profiles = [
        {"speedup": speedup, "keep": [1 / speedup] * layers, "flops_speedup": speedup, "predicted": speedup}
        for speedup in (1.0, 2.0)
    ]
    return {
        **{"schema": "latadj.calibrate/2", "model": "minilm", "task": "films", "examples": 64, "reach": 3.6},
        **{"layer_acc": [0.9, 0.8, 0.61234][:layers], "by_rank": shares if by_rank else None, "profiles": profiles},
        **{"dial": {"profile_type": "acc"}, "environment": ENVIRONMENT, "config": CONFIG},
    }


def narrowing(layers: int = 3) -> dict[str, Any]:
    """What `latadj calibrate` writes of a dial that goes by width too."""
    found = calibrate(layers)
    for one in found["profiles"]:
        share = one["speedup"] ** -0.5
        widths = {"heads": [share] * layers, "neurons": [share] * (layers - 1) + [0.125], "by_width": 1 / share}
        one |= {"width": share, **widths}
    return found


def evaluation() -> dict[str, Any]:
    return {
        **{"schema": "latadj.eval/2", "model": "minilm", "task": "films", "metric": "accuracy", "speedup": 2.0},
        **{"scores": {"test": {"accuracy": 0.7654}}, "metric_ci": {"test": [0.74, 0.79]}, "measured": 2.04},
        **{"measured_ci": [1.9, 2.1], "latency_ms": {"p50": 3.1, "p99": 9.9}, "throughput_per_s": 321.0},
        **{"environment": ENVIRONMENT, "config": CONFIG},
    }


def finetune() -> dict[str, Any]:
    return {
        **{"schema": "latadj.finetune/1", "model": "minilm", "task": "films", "metric": "accuracy"},
        **{"validation": {"plain": {"eval_accuracy": 0.8123, "seconds": 9.0}, "adjustable": {}}},
        **{"environment": ENVIRONMENT, "config": CONFIG},
    }


def write(folder: Path, **results: Any) -> Path:
    """A run's folder with these results, by command; ``predictions`` are rows of the CSV file."""
    for command, found in results.items():
        if command == "predictions":
            (folder / "sweep").mkdir(parents=True, exist_ok=True)
            with (folder / "sweep" / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(found[0]))
                writer.writeheader()
                writer.writerows(found)
        else:
            data = found if isinstance(found, dict) else json.loads(json.dumps(found.to_json()))
            write_json(folder / command / f"{command}.json", data)
    return folder


def prediction(text: str, label: str, said: dict[str, tuple[str, float]]) -> dict[str, Any]:
    """A row of ``predictions.csv``: speedup -> class and its probability."""
    found: dict[str, Any] = {"text": text, "label": label}
    for speedup, (name, probability) in said.items():
        found |= {f"prediction_{speedup}x": name, f"probability_{speedup}x": probability}
    return found


def predictions() -> list[dict[str, Any]]:
    """Forty examples; of the first five, whose texts are nasty, four change."""
    bad, good = ("bad", 0.9), ("good", 0.7)
    changes = [
        {"1": good, "1.5": bad, "2": bad, "3": bad},
        {"1": good, "1.5": good, "2": ("bad", 0.6), "3": good},
        {"1": bad, "1.5": bad, "2": good, "3": good},
        {"1": good, "1.5": good, "2": good, "3": ("bad", 0.99)},
        {"1": good, "1.5": good, "2": good, "3": good},
    ]
    found = [prediction(said, "good", change) for said, change in zip(NASTY, changes, strict=True)]
    return found + [prediction(f"film {number}", "good", changes[-1]) for number in range(35)]
