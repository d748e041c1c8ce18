"""The steps of a calibration, which `latadj calibrate` and `latadj.calibrate` share."""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from transformers import PreTrainedModel

from latadj.calibration.calibration_set import CalibrationSet
from latadj.calibration.latency_fit import measure
from latadj.calibration.make_dial import (
    PLAIN_PROFILE_TYPES,
    Contribution,
    WindowTrial,
    add_search,
    choose_window,
    make_dial,
    measure_contribution,
    windows_to_try,
)
from latadj.checkpoints.metadata import Serving
from latadj.config import CalibrationConfig, ClockConfig
from latadj.elimination.attach import attach, attached
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import levels_of
from latadj.elimination.observation_window import WHOLE
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower

# Prompts that windows and profiles are tried on: long ones are slow.
MOST_TRIED = 8
# Of a step's name and its number of trials: shows its progress, and is told what each trial gave.
Show = Callable[[str, int], AbstractContextManager[Callable[[str], object]]]


def silently(name: str, total: int) -> AbstractContextManager[Callable[[str], object]]:
    """Show no progress."""
    return nullcontext(lambda note: None)


def acc_dial(
    model: PreTrainedModel,
    examples: CalibrationSet,
    config: CalibrationConfig,
    *,
    widths: Sequence[float] = (),
    show: Show = silently,
) -> tuple[Dial, Contribution, list[WindowTrial]]:
    """The dial that ACC gives, in FLOPs, the ACC behind it, and what was tried for a decoder's window.

    Parameters
    ----------
    model : with elimination attached
    examples : of the training split
    widths : that the model was trained at, as in :class:`~latadj.elimination.dial.Dial`

    Raises
    ------
    ValueError
        if no layer has anything left to cut.
    """
    windows = windows_to_try(config) if attached(model).architecture.causal else [WHOLE]
    contribution = measure_contribution(model, examples, score=config.score, window=windows[0])
    dial, tried = make_dial(model, contribution, config, windows[0], widths), list[WindowTrial]()
    if len(windows) > 1:
        with show("window", len(PLAIN_PROFILE_TYPES) * len(windows)) as advance:
            dial, tried = choose_window(dial, model, examples.first(MOST_TRIED), windows, advance=advance)
    return dial, contribution, tried


def measure_serving(
    model: PreTrainedModel,
    dial: Dial,
    kernel: KernelSpec,
    *,
    batch: int,
    lengths: Sequence[int],
    clock: ClockConfig,
    seed: int,
    show: Show = silently,
) -> Serving:
    """The latency model of a precision on the model's device, measured on a copy that one kernel serves.

    Parameters
    ----------
    model : in fp32
    batch, lengths : the workload: sequences a batch, and their lengths
    """
    levels = [*dial.levels, *levels_of(dial, dial.widths)]
    served = attach(lower(copy.deepcopy(model), kernel, dial.reads, levels), dial)
    with show(f"clock {kernel.precision}", clock.rounds) as advance:
        latency = measure(
            served,
            dial,
            batch=batch,
            lengths=lengths,
            device=model.device,
            rounds=clock.rounds,
            budget_s=clock.budget_s,
            seed=seed,
            advance=lambda: advance(""),
        )
    return Serving(kernel.kernel, (latency,))


def search_profiles(
    dial: Dial,
    model: PreTrainedModel,
    examples: CalibrationSet,
    short: CalibrationSet | None,
    *,
    prompts: bool,
    speedups: Sequence[float],
    trials: int,
    seed: int,
    levels: int | None = None,
    show: Show = silently,
) -> Dial:
    """The dial with searched profiles, set to ``searched`` if any was found.

    Parameters
    ----------
    dial : in FLOPs or in a device's time, which the profiles are solved for
    short : the examples cut to a few words, see :func:`latadj.calibration.make_dial.add_search`; None: there are none
    prompts : whether the examples are prompts, of which a few are tried
    speedups : to search at, as far as the dial goes
    trials : profiles tried at each; 0: no search
    levels : how many there may be; None: one for each speedup
    """
    reached = [speedup for speedup in speedups if speedup <= dial.max_speedup]
    if not trials or not reached:
        return dial
    with show("search", len(reached) * trials) as advance:
        return add_search(
            dial,
            model,
            examples.first(MOST_TRIED) if prompts else examples,
            speedups=reached,
            trials=trials,
            short=short,
            seed=seed,
            levels=levels,
            advance=lambda speedup, best: advance(f"{speedup:g}x {_note(best)}"),
        )


def _note(divergence: float) -> str:
    return "is out of reach so far" if math.isnan(divergence) else f"divergence {divergence:.4f}"
