"""Whether deadlines are met, and how far the speedups are above the least that would have met them.

Run alone on a quiet machine, with a checkpoint that `latadj calibrate` measured on it:

    .venv/bin/python benchmarks/deadlines.py outputs/minilm-rotten_tomatoes/checkpoint

Deadlines are multiples of what the median batch takes at 1x; all texts have run once before. After each batch the
oracle times the same batch at a ladder of speedups, three times each, and takes the least whose median meets the
deadline. Prints a Markdown table of the texts for which the deadline was predicted to be possible.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latadj.benchmark.noise import NoiseMonitor
from latadj.config import EvalConfig
from latadj.config.compose import compose, typed
from latadj.devices.environment import environment
from latadj.elimination.current_setting import at_profile
from latadj.inference.deadline import Deadline
from latadj.inference.serving import load
from latadj.tasks.encoding.batches import pad, tokenize
from latadj.tasks.types import task_type_of

LADDER = 9


def oracle(deadline: Deadline, model: Any, batch: dict[str, torch.Tensor]) -> float | None:
    """The least of a ladder of speedups at which a batch meets the deadline; None if none does."""
    for place in np.linspace(0, len(deadline.speedups) - 1, LADDER).astype(int):
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            with torch.inference_mode(), at_profile(model, deadline.profiles[place]):
                model(**batch)
            seconds.append(time.perf_counter() - start)
        if np.median(seconds) <= deadline.seconds:
            return deadline.speedups[place]
    return None


def main() -> None:
    """Run every deadline over the texts, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--times", nargs="+", type=float, default=[1.6, 1.2, 0.9, 0.7])
    options = parser.parse_args()
    print("| batch | deadline | possible | met | late | mean speedup | oracle | ratio | mean batch |")
    print("|" + " --- |" * 9)
    with NoiseMonitor() as monitor:
        for most in options.batches:
            measure(options, most)
    noise = monitor.report({})
    where = environment(torch.device("cpu"), "fp32")
    print(f"\n{where['processor']}, {where['threads']} threads. {noise.warning or 'Quiet.'}")


def measure(options: argparse.Namespace, most: int) -> None:
    """The rows of one batch size."""
    model, tokenizer = load(options.checkpoint, precision="fp32", batch=most)
    rows = tokenize([texts(options.texts)], tokenizer, 512)
    lengths = [len(row["input_ids"]) for row in rows]
    full = Deadline(model, 1.0)
    median = float(full.predicted([int(np.median(lengths))] * most)[0])
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(rows), most):  # a length that runs for the first time makes kernels
        with torch.inference_mode():
            model(**pad([rows[place] for place in order[start : start + most]], tokenizer))
    for share in options.times:
        deadline = Deadline(model, 1000 * share * median)
        found: list[tuple[int, float, float]] = []
        possible = met = beyond = 0
        for places in deadline.batches(lengths, most=most):
            batch = pad([rows[place] for place in places], tokenizer)
            own = [lengths[place] for place in places]
            before = deadline.counts.met_texts
            expected = deadline.needed(own) is not None
            with torch.inference_mode(), deadline(own) as speedup:
                model(**batch)
            if not expected:
                beyond += len(own)
                continue
            possible += len(own)
            met += deadline.counts.met_texts - before
            if (least := oracle(deadline, model, batch)) is not None:
                found.append((len(own), speedup, least))
        counts = deadline.counts
        if not found:
            print(f"| {most} | {1000 * deadline.seconds:.1f} ms | 0.0% |  |  |  |  |  |  |", flush=True)
            continue
        weights, ours, least_of = (np.array(column) for column in zip(*found, strict=True))
        mean, needed = np.average(ours, weights=weights), np.average(least_of, weights=weights)
        in_time = met / max(possible, 1)
        print(
            f"| {most} | {1000 * deadline.seconds:.1f} ms | {possible / counts.texts:.1%} | {in_time:.1%} "
            f"| {1 - in_time:.1%} | {mean:.2f}x | {needed:.2f}x | {mean / needed:.2f} "
            f"| {counts.texts / counts.batches:.1f} |",
            flush=True,
        )


def texts(count: int) -> list[str]:
    """Film reviews of the built-in task's validation split."""
    config = typed("eval", compose("eval", []))
    assert isinstance(config, EvalConfig)
    splits = task_type_of(config.task).load(None)
    return list(splits.validation["text"])[:count]


if __name__ == "__main__":
    main()
