"""How long a model takes in PyTorch and in each runtime that it was exported for, and which is the fastest."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RuntimeTrial:
    """One candidate.

    folder : of graphs, relative to the checkpoint; None: the checkpoint itself, in PyTorch
    precision : that it runs in
    ms : median milliseconds of a batch at each of the speedups
    """

    folder: str | None
    precision: str
    ms: tuple[float, ...]


@dataclass(frozen=True)
class RuntimeTimes:
    """Candidates that were timed interleaved, over the same texts.

    batch : texts of a batch
    speedups : in FLOPs, the same keep ratios for all
    """

    batch: int
    speedups: tuple[float, ...]
    trials: tuple[RuntimeTrial, ...]

    def __post_init__(self) -> None:
        if any(len(trial.ms) != len(self.speedups) for trial in self.trials):
            raise ValueError("ms: expected a time for each of the speedups")

    def fastest(self, speedup: float | None, able: Callable[[RuntimeTrial], bool]) -> RuntimeTrial | None:
        """The fastest of those that are able at the nearest speedup; None if none is.

        Parameters
        ----------
        speedup : None: over all speedups, by the geometric mean
        """
        places = list(range(len(self.speedups)))
        if speedup is not None:
            asked = math.log(speedup)
            places = [min(places, key=lambda place: abs(math.log(self.speedups[place]) - asked))]
        trials = [trial for trial in self.trials if able(trial)]
        return min(trials, key=lambda trial: sum(math.log(trial.ms[place]) for place in places), default=None)


def nearest(times: tuple[RuntimeTimes, ...], batch: int) -> RuntimeTimes | None:
    """Those of the batch size that is nearest by ratio; None if nothing was timed."""
    return min(times, key=lambda one: abs(math.log(one.batch / batch)), default=None)
