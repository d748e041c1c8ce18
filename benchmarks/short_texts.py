"""What a dial does to short texts: validation texts cut to their first words, beside all of the validation split.

    .venv/bin/python benchmarks/short_texts.py outputs/minilm-rotten_tomatoes/checkpoint
    .venv/bin/python benchmarks/short_texts.py OLD/checkpoint NEW/checkpoint --speedups 2 3 task=rotten_tomatoes

Prints a Markdown table: agreement with the same model at 1x by number of words, the share of the commonest answer (a
model that reads nothing answers all texts alike), the metric of the whole split, and the time that it takes relative to
the first row of the speedup, interleaved, with a 95% interval.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import speedup as compared
from latadj.benchmark.timer import time_interleaved
from latadj.checkpoints.metadata import check
from latadj.commands.common.served_models import open_served
from latadj.commands.common.session import Session
from latadj.config import EvalConfig
from latadj.config.compose import compose, typed
from latadj.devices.environment import environment
from latadj.elimination.current_setting import at_speedup
from latadj.tasks.encoding.batches import bucketed, pad, rows_of
from latadj.tasks.outputs.predict import predict

WORDS = (1, 2, 3, 4, 5, 6, 7, 8)
SHOWN = (1, 2, 3, 5, 8)


def first_words(session: Session, most: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Encoded validation texts cut to each number of words, and that number for each of them."""
    (column,) = session.config.task.text
    texts = session.splits.validation.select(range(min(most, len(session.splits.validation))))
    parts, counts = [], []
    for words in WORDS:
        cut = texts.filter(lambda row, words=words: len(row[column].split()) >= words)
        cut = cut.map(lambda row, words=words: {column: " ".join(row[column].split()[:words])})
        parts += rows_of(session.encoded(cut))
        counts += [words] * len(cut)
    return parts, np.array(counts)


def main() -> None:
    """Score and time every checkpoint at every speedup, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--speedups", nargs="+", type=float, default=[2.0, 3.0])
    parser.add_argument("--texts", type=int, default=400, help="validation texts that are cut")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="options of latadj eval")
    options = parser.parse_args()
    work: dict[str, Any] = {}
    lines: dict[str, str] = {}
    for folder in options.checkpoints:
        config = typed("eval", compose("eval", [f"checkpoint={folder}", *options.set]))
        assert isinstance(config, EvalConfig)
        session = open_served(config, check(folder))
        model, answer = session.model, partial(predict, session.model, session.tokenizer, outputs=session.outputs)
        short, words = first_words(session, options.texts)
        validation = session.splits.validation
        encoded = session.encoded(validation)
        rows = rows_of(encoded)
        size = config.task.batch_size
        batches = [pad([rows[place] for place in places], session.tokenizer) for places in bucketed(rows, size)]
        with at_speedup(model, 1.0):
            full = answer(short).argmax(axis=1)
        for at in options.speedups:
            with at_speedup(model, at):
                cut = answer(short).argmax(axis=1)
                predictions = session.task_type.predictions(answer(rows), encoded, validation)
            metric = session.task_type.scores(predictions, validation)[config.task.metric]
            same, name = cut == full, f"{at:g}x {folder}"
            by_words = " | ".join(f"{same[words == count].mean():.1%}" for count in SHOWN)
            share = f"{np.bincount(cut).max() / len(cut):.0%} ({np.bincount(full).max() / len(full):.0%})"
            lines[name] = f"| {at:g}x | {folder} | {by_words} | {same.mean():.1%} | {share} | {100 * metric:.2f} |"

            def run(batch: dict[str, torch.Tensor], model: Any = model, at: float = at) -> object:
                with torch.inference_mode(), at_speedup(model, at):
                    return model(**batch)

            work[name] = [partial(run, batch) for batch in batches]
    with NoiseMonitor() as monitor:
        seconds = time_interleaved(work, rounds=options.rounds, warmup=1, device=session.device)
    noise = monitor.report(seconds)
    print(
        f"| speedup | checkpoint | {' | '.join(f'{count} words' for count in SHOWN)} | 1 to 8 | commonest answer "
        f"(at 1x) | {session.config.task.metric}, all | time |"
    )
    print("|" + " --- |" * (len(SHOWN) + 6))
    for name in sorted(lines, key=lambda name: float(name.split("x")[0])):
        first = next(other for other in lines if other.split()[0] == name.split()[0])
        ratio = compared(seconds[name], seconds[first])
        print(f"{lines[name]} {ratio.median:.3f} ({ratio.low:.3f}–{ratio.high:.3f}) |")
    where = environment(session.device, config.device.precision)
    print(f"\n{where['processor']}, {where['threads']} threads, batch {size}. {noise.warning or 'Quiet.'}")


if __name__ == "__main__":
    main()
