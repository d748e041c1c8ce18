"""Do cuts save the time that their FLOPs promise, in a model of any architecture?

    .venv/bin/python benchmarks/architectures.py modernbert bert --batch 8 --length 512

A classifier of each model type, in the shape of transformers' default config, with random weights: what it computes
does not matter to a clock. Every text has the same length. Profiles are geometric and cut in every layer, or in every
so many (`--every`); speedups are in FLOPs. The full model by transformers' own attention, ours at 1x, and every speedup
run in turns. Prints a Markdown table: time over that of ours at 1x and over transformers' (medians of rounds, bootstrap
95% intervals), and the first over the speedup in FLOPs that its profile has from 1x.
"""

import argparse
import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from latadj.benchmark.kernel_selection import fastest_kernel
from latadj.benchmark.timer import Interval, speedup, time_interleaved
from latadj.config import DeviceConfig
from latadj.devices.device import choose
from latadj.devices.environment import processor
from latadj.elimination.architectures import architecture_of, layer_shapes
from latadj.elimination.attach import attach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.kernels.lowering import lower

PLAIN = "transformers"


def main() -> None:
    """Time every model type, and print a row for each speedup."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_types", nargs="+", help="of transformers, such as bert or modernbert")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=512, help="tokens of each text")
    parser.add_argument("--speedups", type=float, nargs="+", default=[2.0, 3.0])
    parser.add_argument("--every", type=int, nargs="+", default=[1], help="a cut in every so many layers")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "int8"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=200, help="seconds for each model type, at most")
    options = parser.parse_args()
    device = choose(DeviceConfig())
    where = f"{processor(device)}, {torch.get_num_threads()} threads"
    print(f"{options.batch} x {options.length}, {options.precision}, {where}\n")
    print("| model | a cut in every | FLOPs over 1x | time over 1x | over its FLOPs | time over transformers |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for model_type in options.model_types:
        for row in rows(model_type, options, device):
            print(row, flush=True)


def rows(model_type: str, options: argparse.Namespace, device: torch.device) -> list[str]:
    """A model type's rows of the table."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type)
    plain = AutoModelForSequenceClassification.from_config(config).eval()
    ours = attach(copy.deepcopy(plain))
    kernel = fastest_kernel(ours, options.precision, device)
    shapes, reads = layer_shapes(ours), architecture_of(ours).reads(ours)
    ours = lower(ours, kernel, reads)
    dial = Dial((0.5,) * len(shapes), (options.length,), shapes, reads=reads, profile_type="geometric")
    full = Profile.full(dial.layers)
    trimmed = dial.speedup_of(full)
    profiles = {
        (every, ratio): replace(dial, every=every).profile(ratio * trimmed)
        for every in options.every
        for ratio in options.speedups
    }
    inputs = {"input_ids": torch.randint(5, config.vocab_size - 5, (options.batch, options.length))}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])

    def passes(model: PreTrainedModel, profile: Profile | None) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode(), nullcontext() if profile is None else at_profile(model, profile):
                return model(**inputs).logits

        return run

    work = {PLAIN: [passes(plain, None)], "1x": [passes(ours, full)]}
    work |= {str(key): [passes(ours, profile)] for key, profile in profiles.items()}
    seconds = time_interleaved(work, rounds=options.rounds, warmup=2, device=device, budget_s=options.budget)
    found = []
    for key, profile in profiles.items():
        flops = dial.speedup_of(profile) / trimmed
        gain, whole = (speedup(seconds[name], seconds[str(key)]) for name in ("1x", PLAIN))
        cells = [f"{flops:.2f}", shown(gain), f"{gain.median / flops:.2f}", shown(whole)]
        found.append(f"| {model_type}, {kernel.kernel} | {key[0]} | " + " | ".join(cells) + " |")
    return found


def shown(ratio: Interval) -> str:
    """A ratio with its interval."""
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


if __name__ == "__main__":
    main()
