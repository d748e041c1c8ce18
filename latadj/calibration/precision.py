"""Which precision is the fastest that still agrees with fp32."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from latadj.benchmark.kernel_selection import fastest_kernel
from latadj.benchmark.timer import time_interleaved
from latadj.calibration.calibration_set import CalibrationSet
from latadj.config import PRECISIONS
from latadj.elimination.attach import attached
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower

AGREEMENT = 0.995


@dataclass(frozen=True)
class PrecisionTrial:
    """How one precision did on the calibration set.

    agreement : share of examples with fp32's prediction (of a regression: correlation with it)
    ms : median milliseconds a batch
    """

    spec: KernelSpec
    agreement: float
    ms: float


def compare(
    model: PreTrainedModel,
    examples: CalibrationSet,
    device: torch.device,
    *,
    batch_size: int,
    precisions: Sequence[str] = PRECISIONS,
    seed: int = 0,
) -> dict[str, PrecisionTrial]:
    """Each precision's agreement with fp32 and its time, at speedup 1, on the calibration set.

    Parameters
    ----------
    model : in fp32, with elimination attached, not lowered; it is left as it is
    examples : of the training split
    batch_size : at which the time is taken
    """
    full = Profile.full(len(attached(model).default.profile.keep))
    work: dict[str, list[Any]] = {}
    outputs: dict[str, Any] = {}
    specs = {}
    for precision in precisions:
        try:
            specs[precision] = fastest_kernel(model, precision, device)
        except ValueError:  # int8 does not run everywhere
            continue
        lowered = lower(copy.deepcopy(model), specs[precision])
        with at_profile(lowered, full):
            outputs[precision] = examples.outputs(lowered)

        def run(one: Any, lowered: PreTrainedModel = lowered) -> object:
            with torch.inference_mode(), at_profile(lowered, full):
                return one()

        work[precision] = [partial(run, one) for one in examples.passes(lowered, batch_size, 4)]
    seconds = time_interleaved(work, rounds=5, warmup=1, device=device, seed=seed)
    return {
        name: PrecisionTrial(
            specs[name],
            examples.agreement(outputs[name], outputs["fp32"]),
            float(np.median(seconds[name]) * 1000),
        )
        for name in specs
    }


def fastest_that_agrees(trials: dict[str, PrecisionTrial]) -> str:
    """The fastest precision whose predictions agree with fp32's on at least ``AGREEMENT`` of the calibration set."""
    agreeing = [name for name, trial in trials.items() if trial.agreement >= AGREEMENT]
    return min(agreeing, key=lambda name: trials[name].ms)
