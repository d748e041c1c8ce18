"""What a dial marked in FLOPs gives on the clock, in a decoder's prefill and in T5's encoder.

Run alone on a quiet machine: ``.venv/bin/python benchmarks/prefill.py``. Random weights; prints a Markdown table:
FLOPs speedup, measured speedup over the plain model under sdpa and over the dial's own speedup 1 (median, bootstrap
95% interval), and the latter over the FLOPs speedup from 1 on. All variants of a model take turns in one process.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.benchmark.kernel_selection import fastest_kernel
from latadj.benchmark.timer import speedup, time_interleaved
from latadj.checkpoints.checkpoint import random_model
from latadj.config import DeviceConfig, ModelConfig
from latadj.devices.device import choose
from latadj.elimination.architectures import architecture_of, layer_shapes
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_speedup
from latadj.elimination.dial import Dial
from latadj.elimination.observation_window import ObservationWindow
from latadj.kernels.lowering import lower

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
}
T5_BASE = {"model_type": "t5", "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12}
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "smollm2": (SMOLLM2, 768),
    "gpt2": ({"model_type": "gpt2"}, 768),
    "flan_t5": ({**T5_BASE, "feed_forward_proj": "gated-gelu"}, 512),
}
SPEEDUPS = (1.0, 2.0, 3.0)


def variants(shape: dict[str, Any], length: int, lowered: list[str]) -> tuple[dict[str, Any], Dial]:
    """Passes of the plain model and of every dial, and the dial that they are marked by."""
    plain = random_model(ModelConfig(name="bench", path="", shape=shape), seed=0)
    architecture = architecture_of(plain)
    shapes = layer_shapes(plain)
    # Recency needs no probabilities; ACC does, and is what is timed.
    dial = Dial(
        layer_acc=(0.9,) * len(shapes),
        lengths=(length,),
        shapes=shapes,
        reads=architecture.reads(plain),
        profile_type="geometric",
        window=ObservationWindow(window_size=64, sink_tokens=4, recent_ratio=0.5)
        if architecture.causal
        else ObservationWindow(),
    )
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, plain.config.vocab_size, (1, length)))
    models: dict[str, PreTrainedModel] = {"as it is": attach(copy.deepcopy(plain), dial)}
    for precision in lowered:
        twin = attach(copy.deepcopy(plain), dial)
        models[precision] = lower(twin, fastest_kernel(twin, precision, torch.device("cpu")), dial.reads)

    def run(model: PreTrainedModel) -> object:
        with torch.inference_mode():
            return architecture.prefill(model, ids)

    def at_target(model: PreTrainedModel, target: float) -> object:
        with at_speedup(model, target):
            return run(model)

    work: dict[str, list[Callable[[], object]]] = {"plain": [partial(run, plain)]}
    for name, model in models.items():
        for target in SPEEDUPS:
            work[f"{name} {target:g}x"] = [partial(at_target, model, target)]
    return work, dial


def main() -> None:
    """Time every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--lowered", nargs="*", default=["fp32", "int8"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=150.0, help="seconds for each model")
    options = parser.parse_args()
    device = choose(DeviceConfig(name="cpu"))
    print("| model | dial | FLOPs | ms | over plain | over its own 1x | of FLOPs from 1x |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in options.models:
        shape, length = MODELS[name]
        work, dial = variants(shape, length, options.lowered)
        seconds = time_interleaved(work, rounds=options.rounds, warmup=3, device=device, budget_s=options.budget)
        for entry in work:
            ms = f"{1000 * np.median(seconds[entry]):.0f}"
            if entry == "plain":
                print(f"| {name} {length} | plain sdpa fp32 | 1.00x | {ms} | | | |")
                continue
            base, target = entry.rsplit(" ", 1)
            flops = [dial.speedup_of(dial.profile(at)) for at in (float(target[:-1]), 1.0)]
            plain, own = (speedup(seconds[other], seconds[entry]) for other in ("plain", f"{base} 1x"))
            print(
                f"| {name} {length} | {entry} | {flops[0]:.2f}x | {ms} "
                f"| {plain.median:.2f} ({plain.low:.2f}–{plain.high:.2f}) "
                f"| {own.median:.2f} ({own.low:.2f}–{own.high:.2f}) | {own.median / (flops[0] / flops[1]):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
