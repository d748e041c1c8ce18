"""How long it takes to turn the dial of a served model between two batches.

    .venv/bin/python benchmarks/switching.py outputs/minilm-rotten_tomatoes/checkpoint [PRECISION]

Prints microseconds of `latadj.set_speedup` from each speedup to the next, after the first time: a speedup is solved for
once and then remembered. Also whether any switch allocated a tensor.
"""

import sys
import time

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

import latadj

SPEEDUPS = (1.0, 1.5, 2.0, 3.0, 4.0)
ROUNDS = 500


def main() -> None:
    """Turn the dial round and round, and print what a turn takes."""
    folder, precision = sys.argv[1], (sys.argv[2:] or ["fp32"])[0]
    model, _ = latadj.load(folder, precision=precision)
    taken: dict[float, list[float]] = {speedup: [] for speedup in SPEEDUPS}
    for turn in range(ROUNDS + 1):
        for speedup in SPEEDUPS:
            start = time.perf_counter()
            latadj.set_speedup(model, speedup)
            if turn:  # the first one solves
                taken[speedup].append(1e6 * (time.perf_counter() - start))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen, torch.inference_mode():
        for speedup in SPEEDUPS:
            latadj.set_speedup(model, speedup)
    print("| to | median µs | 99% µs |\n| ---: | ---: | ---: |")
    for speedup, times in taken.items():
        print(f"| {speedup:g}x | {np.median(times):.1f} | {np.percentile(times, 99):.1f} |")
    print(f"\ntensor operations of {len(SPEEDUPS)} turns: {len(seen.key_averages())}")


if __name__ == "__main__":
    main()
