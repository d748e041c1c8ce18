"""Dials whose drops were written by hand."""

from dataclasses import replace

from latadj.elimination.dial import Dial
from latadj.elimination.drops import MeasuredDrop

RISING = {1.0: 0.0, 2.0: 0.5, 3.0: 1.5, 4.0: 4.5}


def with_drops(dial: Dial, points: dict[float, float] = RISING) -> Dial:
    """A dial with drops in points at speedups, each interval half a point to either side."""
    drops = [
        MeasuredDrop(dial.profile(speedup), drop / 100, drop / 100 - 0.005, drop / 100 + 0.005)
        for speedup, drop in points.items()
    ]
    return replace(dial, drops=tuple(drops))
