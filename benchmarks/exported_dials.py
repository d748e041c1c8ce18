"""Milliseconds along the dial in PyTorch, ONNX Runtime and OpenVINO, in fp32 and int8, as a picture and a table.

    .venv/bin/python benchmarks/exported_dials.py outputs/minilm-rotten_tomatoes/checkpoint \
        outputs/minilm-rotten_tomatoes/exported outputs/minilm-rotten_tomatoes/exported-int8 --picture docs/exported.png

The folders are of either format and precision; PyTorch runs the checkpoint. One panel a cell, all of which is timed
interleaved on random tokens, at the same profiles: speedups are in FLOPs. Prints a Markdown table of medians.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from transformers import PreTrainedModel

import latadj
from latadj.benchmark.timer import time_interleaved
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.reporting.plots import BLUE, GREEN, ORANGE, new_figure, save
from latadj.runtime import Predictor
from latadj.runtime.tokens import Encoded

SPEEDUPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
COLOURS = {"PyTorch": BLUE, "onnxruntime": ORANGE, "openvino": GREEN}
STYLES = {"fp32": "-", "int8": ":"}
ROUNDS, WARMUP = 15, 2


def main() -> None:
    """Time every cell, print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--cells", nargs="+", default=["1x128", "8x128"], metavar="BATCHxTOKENS")
    parser.add_argument("--budget", type=float, default=40.0, metavar="S", help="seconds for each cell")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    predictors = [Predictor(folder, threads=threads) for folder in options.folders]
    models = {precision: latadj.load(options.checkpoint, precision=precision)[0] for precision in STYLES}
    figure = new_figure(5 * len(options.cells), 4.4)
    panels = np.atleast_1d(figure.subplots(1, len(options.cells)))
    for cell, panel in zip(options.cells, panels, strict=True):
        batch, length = map(int, cell.split("x"))
        _draw(panel, f"{batch} x {length} tokens", _times(batch, length, predictors, models, options.budget))
    panels[0].set_ylabel("milliseconds a batch")
    panels[-1].legend(fontsize=8)
    save(figure, options.picture)


def _times(
    batch: int, length: int, predictors: list[Predictor], models: dict[str, PreTrainedModel], budget: float
) -> dict[tuple[str, str], list[float]]:
    """Median milliseconds at each speedup, by runtime and precision."""
    rng = np.random.default_rng(0)
    texts = [Encoded(rng.integers(0, 1000, length).tolist(), [0] * length) for _ in range(batch)]
    tensors = {name: torch.from_numpy(array) for name, array in predictors[0].encoder.arrays(texts).items()}
    assert predictors[0].dial is not None
    dial = replace(predictors[0].dial, latency=None)
    profiles = {one: replace(dial.profile(one), whole_length=0.0) for one in SPEEDUPS}
    work: dict[str, list[Callable[[], object]]] = {}
    for one, profile in profiles.items():
        for precision, model in models.items():
            work[f"PyTorch {precision} {one:g}"] = [partial(_run, model, tensors, profile)]
        for predictor in predictors:
            name = f"{predictor.runtime} {predictor.manifest.precision} {one:g}"
            work[name] = [partial(predictor.run, texts, profile)]
    times = time_interleaved(
        work, rounds=ROUNDS, warmup=WARMUP, device=torch.device("cpu"), budget_s=budget, settle=True
    )
    found: dict[tuple[str, str], list[float]] = {}
    for name, seconds in times.items():
        runtime, precision, _ = name.split(" ")
        found.setdefault((runtime, precision), []).append(1e3 * float(np.median(seconds)))
    return found


@torch.inference_mode()
def _run(model: PreTrainedModel, inputs: dict[str, torch.Tensor], profile: Profile) -> None:
    with at_profile(model, profile):
        model(**inputs)


def _draw(panel: Axes, title: str, found: dict[tuple[str, str], list[float]]) -> None:
    print(f"\n{title}\n\n| speedup in FLOPs |", " | ".join(f"{one:g}x" for one in SPEEDUPS), "|")
    print("| --- |" + " ---: |" * len(SPEEDUPS))
    for (runtime, precision), values in found.items():
        print(f"| {runtime} {precision} |", " | ".join(f"{value:.1f}" for value in values), "|", flush=True)
        (line,) = panel.plot(SPEEDUPS, values, label=f"{runtime} {precision}", marker="o", markersize=3)
        line.set(color=COLOURS[runtime], linestyle=STYLES[precision])
    panel.set_title(title)
    panel.set_xlabel("speedup, in FLOPs")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)


if __name__ == "__main__":
    main()
