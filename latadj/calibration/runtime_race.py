"""Which runtime is the fastest for a model, by a clock, at several batch sizes and speedups."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.benchmark.timer import time_interleaved
from latadj.calibration.calibration_set import CalibrationSet
from latadj.checkpoints.runtime_times import RuntimeTimes, RuntimeTrial
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile

# Texts of the shortest, a middle and the longest length.
PIECES, ROUNDS = 3, 9
# What is asked for most; a dial that goes less far has fewer.
SPEEDUPS = (1.0, 2.0, 3.0)


def race(
    models: Mapping[tuple[str | None, str], PreTrainedModel],
    examples: CalibrationSet,
    dial: Dial,
    *,
    batches: Sequence[int],
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> tuple[RuntimeTimes, ...]:
    """Time candidates interleaved, over batches of real texts.

    Parameters
    ----------
    models : (folder, precision) -> an attached model, or graphs, on the CPU
    dial : in FLOPs: all candidates run the same profiles
    batches : numbers of texts
    advance : called after each batch size and speedup
    """
    speedups = tuple(speedup for speedup in SPEEDUPS if speedup <= dial.reach())
    times = []
    for batch in batches:
        medians = []
        for speedup in speedups:
            profile = dial.profile(speedup)
            work = {
                str(number): [partial(_pass, model, profile, one) for one in examples.passes(model, batch, PIECES)]
                for number, model in enumerate(models.values())
            }
            # Threads of one runtime's pool spin for a while after its pass, and would slow the next one's.
            seconds = time_interleaved(
                work, rounds=ROUNDS, warmup=2, device=torch.device("cpu"), seed=seed, settle=True, budget_s=20.0
            )
            medians.append([1000 * float(np.median(one, axis=0).mean()) for one in seconds.values()])
            advance()
        trials = [
            RuntimeTrial(folder, precision, tuple(one[place] for one in medians))
            for place, (folder, precision) in enumerate(models)
        ]
        times.append(RuntimeTimes(batch, speedups, tuple(trials)))
    return tuple(times)


def _pass(model: PreTrainedModel, profile: Profile, one: Callable[[], object]) -> object:
    with torch.inference_mode(), at_profile(model, profile):
        return one()
