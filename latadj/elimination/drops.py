"""What the metric loses along a dial, as it was measured on validation text. Needs no torch."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np

from latadj.elimination.cost import shapes_at
from latadj.elimination.profiles import Profile
from latadj.utils.serialization import Bounds

if TYPE_CHECKING:
    from latadj.elimination.dial import Dial

# No metric has more than two hundred points between its worst and its best.
OF_A_METRIC = Bounds(-2, 2)
# How far beyond the last measured profile, as a ratio of FLOPs, still counts as it: the tolerance of solving.
TOLERANCE = 1e-3
# Hundredths of a speedup between those that are looked at first.
STEP = 32


@dataclass(frozen=True)
class MeasuredDrop:
    """What a profile loses of the metric on validation text, against the better of two full models.

    drop : of the metric, 0.01 = one point; negative where the profile gains
    low, high : ends of its 95% interval
    """

    profile: Profile
    drop: Annotated[float, OF_A_METRIC]
    low: Annotated[float, OF_A_METRIC]
    high: Annotated[float, OF_A_METRIC]

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"a drop from {self.low:g} to {self.high:g}: expected an interval's lower end first")


def check_drops(dial: "Dial") -> None:
    """Refuse drops of profiles that are not of the dial's model.

    Raises
    ------
    ValueError
    """
    for measured in dial.drops:
        if len(measured.profile.keep) != dial.layers:
            raise ValueError(f"a drop of this dial is of a profile that does not have {dial.layers} keep ratios")
        if measured.profile.level is not None:
            shapes_at(dial.shapes, measured.profile.level)


def drop_at(dial: "Dial", profile: Profile) -> MeasuredDrop | None:
    """What a profile of a dial is expected to lose; see :meth:`latadj.elimination.dial.Dial.drop_of`."""
    if not dial.drops:
        return None
    measured, flops = _curve(dial), dial.speedup_of(profile)
    if flops > measured[0, -1] * (1 + TOLERANCE):
        return None
    drop, low, high = (float(np.interp(flops, measured[0], values)) for values in measured[1:])
    return MeasuredDrop(profile, drop, low, high)


@lru_cache(maxsize=64)
def _curve(dial: "Dial") -> np.ndarray:
    """FLOPs speedup, drop, and the ends of its interval: (4, measured), none of them falling."""
    points = [[dial.speedup_of(one.profile), one.drop, one.low, one.high] for one in dial.drops]
    # A larger speedup that lost less had luck with these texts.
    return np.maximum.accumulate(np.array(sorted(points)), axis=0).T


def speedup_within(dial: "Dial", max_drop: float, confident: bool) -> float:
    """The largest speedup within a drop; see :meth:`latadj.elimination.dial.Dial.within`."""
    if not (isinstance(max_drop, (int, float)) and math.isfinite(max_drop) and max_drop >= 0):
        raise ValueError(f"max_drop={max_drop}: expected a number of at least 0, in points of the metric")
    if not dial.drops:
        raise ValueError(
            f"max_drop={max_drop:g}: what is lost along this dial (profile={dial.profile_type}) was not measured: run "
            "`latadj calibrate` (same options), which measures it on validation text"
        )

    def points(hundredths: int) -> float:
        found = dial.drop_of(dial.profile(hundredths / 100))
        return math.inf if found is None else 100 * (found.high if confident else found.drop)

    def holds(hundredths: int) -> bool:
        return points(hundredths) <= max_drop + 1e-9

    if not holds(100):
        least = math.ceil(100 * points(100) - 1e-6) / 100
        judged = "by the upper end of its interval" if confident else "on the mean"
        raise ValueError(
            f"max_drop={max_drop:g}: at 1x this dial loses {least:.2f} points already, {judged}, since the plain model "
            f"is better on validation text: ask for max_drop={least:.2f} or more"
        )
    # Down from the end, since another level may save more time for fewer FLOPs; then between two steps by halves.
    high = math.floor(100 * dial.reach() + 1e-6) + 1
    for low in (*range(high - 1, 100, -STEP), 100):
        if holds(low):
            break
        high = low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low / 100
