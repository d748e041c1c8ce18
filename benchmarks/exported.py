"""How fast exported graphs are beside plain exports of the same model in ONNX Runtime and OpenVINO, fp32 and int8.

    .venv/bin/latadj export output=outputs/minilm-rotten_tomatoes/exported
    .venv/bin/latadj export precision=int8 output=outputs/minilm-rotten_tomatoes/exported-int8
    .venv/bin/python benchmarks/exported.py outputs/minilm-rotten_tomatoes/checkpoint \
        outputs/minilm-rotten_tomatoes/exported outputs/minilm-rotten_tomatoes/exported-int8

Any number of folders, of either format; --cells 8x512 names other cells than the six that are the default.

All are timed interleaved in one run, on random tokens; the lengths in a batch differ by one. The dial's speedups are in
FLOPs. Prints a Markdown table: median milliseconds, for each plain export in fp32 and int8 the speedup of the fastest
dial's 1x in the same precision with a 95% interval, and for each speedup the same over the dial's own 1x, and in
brackets the share of what FLOPs say.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import latadj
from latadj.benchmark.backends import build
from latadj.benchmark.timer import speedup, time_interleaved
from latadj.runtime import Predictor
from latadj.runtime.tokens import Encoded

CELLS = ["1x32", "1x128", "8x32", "8x128", "32x32", "32x128"]
SPEEDUPS = (1.0, 2.0, 3.0)
PEERS = ("onnxruntime_fp32", "onnxruntime_int8", "openvino_fp32", "openvino_int8")
ROUNDS, WARMUP, BUDGET_S = 15, 3, 60.0


def main() -> None:
    """Time every cell, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="BATCHxTOKENS")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    opened = [Predictor(folder, threads=threads) for folder in options.folders]
    predictors = {f"{one.runtime} dial {one.manifest.precision}": one for one in opened}
    model, _ = latadj.load(options.checkpoint, precision=None)
    plain, inputs = latadj.detach(model), next(iter(predictors.values())).manifest.inputs
    with tempfile.TemporaryDirectory() as made:
        peers = {name: build(name, plain, Path(made), threads, inputs=inputs) for name in PEERS}
        print("| batch x tokens | runs | ms | over a plain export in this precision, or over its own 1x |")
        print("| --- | --- | ---: | ---: |")
        for cell in options.cells:
            batch, length = map(int, cell.split("x"))
            _cell(batch, length, peers, predictors)


def _cell(batch: int, length: int, peers: dict[str, Any], predictors: dict[str, Predictor]) -> None:
    rng = np.random.default_rng(0)
    lengths = [length - number % 2 for number in range(batch)]
    texts = [Encoded(rng.integers(0, 1000, each).tolist(), [0] * each) for each in lengths]
    arrays = next(iter(predictors.values())).encoder.arrays(texts)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    work: dict[str, list[Callable[[], object]]] = {name: [partial(run, tensors)] for name, run in peers.items()}
    gains = {}
    for dial_name, predictor in predictors.items():
        assert predictor.dial is not None
        dial = replace(predictor.dial, latency=None)
        # The search for profiles was in time, and texts of a few words do not matter here.
        profiles = {one: replace(dial.profile(one), whole_length=0.0) for one in SPEEDUPS}
        like = replace(dial, lengths=tuple(lengths))
        for one, profile in profiles.items():
            work[f"{dial_name} {one:g}x"] = [partial(predictor.run, texts, profile)]
            gains[f"{dial_name} {one:g}x"] = like.speedup_of(profile) / like.speedup_of(profiles[1.0])
    times = time_interleaved(
        work, rounds=ROUNDS, warmup=WARMUP, device=torch.device("cpu"), budget_s=BUDGET_S, settle=True
    )
    for name, seconds in times.items():
        shown = f"| {batch} x {length} | {name} | {1e3 * np.median(seconds):.1f} |"
        if name in peers:
            precision = name.rsplit("_", 1)[1]
            full = [times[f"{one} 1x"] for one in predictors if one.endswith(precision)]
            ours = speedup(seconds, min(full, key=lambda one: float(np.median(one)))) if full else None
            print(shown, f"{ours.median:.2f} ({ours.low:.2f} to {ours.high:.2f}) |" if ours else "|")
        else:
            ratio = speedup(times[f"{name.rsplit(' ', 1)[0]} 1x"], seconds)
            print(
                shown, f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) [{ratio.median / gains[name]:.2f}] |"
            )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
