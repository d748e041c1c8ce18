"""What each choice in the engine is worth: every one is turned off in turn, interleaved with the engine as it is.

Run alone on a quiet machine: ``.venv/bin/python benchmarks/engine.py``. BERT-base shape, random weights; prints a
Markdown table, time without the choice over time with it (above 1 = it pays), median and bootstrap 95% interval.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from latadj.benchmark.timer import speedup, time_interleaved, time_layers
from latadj.config import DeviceConfig
from latadj.devices.device import choose
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.kernels import linear, lowered_layers
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower

SHAPES = [(1, 32), (1, 128), (8, 32), (8, 128), (8, 512)]
STEPS = (0.7, 0.7, 0.7, 0.5, 0.5, 0.5, 0.35, 0.35, 0.35, 0.25, 0.25, 0.25)


@contextmanager
def changed(module: Any, name: str, value: object) -> Iterator[None]:
    """A module's constant with another value."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def compare(
    label: str, with_it: Callable[[], object], without: Callable[[], object], rounds: int, budget_s: float
) -> None:
    """Print one row: how much longer it takes without."""
    work = {"with": [with_it], "without": [without]}
    seconds = time_interleaved(work, rounds=rounds, warmup=5, device=torch.device("cpu"), budget_s=budget_s)
    worth = speedup(seconds["without"], seconds["with"])
    print(f"| {label} | {worth.median:.2f}x | {worth.low:.2f}–{worth.high:.2f} |", flush=True)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for each comparison")
    options = parser.parse_args()
    rounds = options.rounds
    device = choose(DeviceConfig())
    torch.manual_seed(0)
    plain = BertForSequenceClassification(BertConfig()).eval()
    models = {
        precision: lower(attach(copy.deepcopy(plain)), KernelSpec(precision, "onednn"))
        for precision in ("fp32", "int8")
    }
    full, cut = Profile.full(12), Profile(STEPS)

    def passes(model: PreTrainedModel, profile: Profile, inputs: dict[str, torch.Tensor]) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode(), at_profile(model, profile):
                return model(**inputs).logits

        return run

    def under(module: Any, name: str, value: object, run: Callable[[], object]) -> Callable[[], object]:
        def other() -> object:
            with changed(module, name, value):
                return run()

        return other

    print("| choice | worth | 95% |\n| :--- | ---: | ---: |")
    for batch, length in SHAPES:
        inputs = {"input_ids": torch.randint(0, 30000, (batch, length))}
        shape = f"{batch} × {length}"
        int8, int8_cut = passes(models["int8"], full, inputs), passes(models["int8"], cut, inputs)
        fp32 = passes(models["fp32"], full, inputs)
        compare(f"packed fp32 layers, {shape}", fp32, passes(attach(plain), full, inputs), rounds, options.budget)
        compare(f"int8 layers, {shape}", int8, fp32, rounds, options.budget)
        compare(
            f"bf16 attention, int8, {shape}",
            int8,
            under(lowered_layers, "BF16_ATTENTION_FROM", 10**9, int8),
            rounds,
            options.budget,
        )
        compare(
            *(
                f"another engine for few rows, int8, cut, {shape}",
                int8_cut,
                under(linear, "few_rows", lambda: 0, int8_cut),
            ),
            *(rounds, options.budget),
        )
    lengths = np.random.default_rng(0).integers(8, 128, 16)
    mask = (torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]).long()
    ragged = {"input_ids": torch.randint(0, 30000, mask.shape), "attention_mask": mask}
    padded = {**ragged, "attention_mask": torch.ones_like(mask)}
    share = mask.sum() / mask.numel()
    compare(
        f"no padding in linear layers, fp32, 16 texts of 8 to 127 tokens, {share:.0%} real",
        passes(models["fp32"], full, ragged),
        passes(models["fp32"], full, padded),
        rounds,
        options.budget,
    )
    print("\n| scoring, share of the layer's time | fp32 | int8 |\n| :--- | ---: | ---: |")
    for batch, length in SHAPES:
        shares = [scoring_share(model, batch, length, device, rounds) for model in models.values()]
        print(f"| {batch} × {length} | " + " | ".join(f"{100 * share:.1f}%" for share in shares) + " |", flush=True)


def scoring_share(model: PreTrainedModel, batch: int, length: int, device: torch.device, rounds: int) -> float:
    """Time that the first layer takes longer when its tokens are scored, over its time without."""
    inputs = {"input_ids": torch.randint(0, 30000, (batch, length))}
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * rounds + 4):
        scores = turn % 2 == 0
        observer = (lambda *_: None) if scores else None  # somebody who looks: all is scored, none eliminated
        with torch.inference_mode(), at_profile(model, Profile.full(12), score_observer=observer):
            seconds = time_layers(model, lambda: model(**inputs), device)
        if turn >= 4:
            times[scores].append(float(seconds[0]))
    return float(np.median(times[True]) / np.median(times[False]) - 1)


if __name__ == "__main__":
    main()
