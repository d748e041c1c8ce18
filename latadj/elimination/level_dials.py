"""Levels along a dial: profiles of a given speedup at a level, and what stands there until a search finds better."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from latadj.elimination.cost import full_flops, shapes_at, whole_level
from latadj.elimination.dial import Dial
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Anchor, Profile

# Of a speedup's logarithm, how much width gives where nothing was searched: tokens are nearly free at first.
WIDTH_SHARE = 0.6


@lru_cache(maxsize=512)
def level_gain(dial: Dial, level: Level | None) -> float:
    """FLOPs of the plain model over those of a level, no token eliminated."""
    lengths = np.asarray(dial.lengths)
    whole, narrow = (full_flops(shapes_at(dial.shapes, one), lengths).sum() for one in (None, level))
    return float(whole / narrow)


def levels_of(dial: Dial, widths: Iterable[float]) -> list[Level]:
    """The levels at which all layers have these shares of their heads and neurons, the widest first."""
    whole = whole_level(dial.shapes)
    levels = [whole.scaled([width] * dial.layers, [width] * dial.layers) for width in sorted(widths, reverse=True)]
    return [level for level in dict.fromkeys(levels) if level != whole]


def at_level(dial: Dial, level: Level | None, speedup: float) -> Profile:
    """The profile of the dial's type that has a speedup at a level, or the nearest that the type reaches.

    Parameters
    ----------
    dial : in FLOPs, without searched profiles
    level : None: the whole model
    """
    if level is None:
        narrow, tokens = dial, speedup
    else:
        narrow = replace(dial, shapes=shapes_at(dial.shapes, level), anchors=())
        tokens = speedup / level_gain(dial, level)
    reach = narrow.reach()
    # In whole steps below the reach, so that a profile is solved for once and then cached.
    profile = narrow.profile(max(tokens if tokens <= reach else np.floor(10 * reach) / 10, 1.0))
    return replace(profile, level=level)


def with_levels(dial: Dial, speedups: Iterable[float]) -> Dial:
    """The dial with a level at each of some speedups, chosen by a rule of thumb, and tokens of its own profile type.

    Parameters
    ----------
    dial : in FLOPs, with widths and without searched profiles
    """
    levels: list[Level | None] = [None, *levels_of(dial, dial.widths)]
    anchors = []
    for speedup in sorted(speedups):
        level = min(levels, key=lambda level: abs(np.log(level_gain(dial, level)) - WIDTH_SHARE * np.log(speedup)))
        profile = at_level(dial, level, speedup)
        gain = dial.speedup_of(profile)
        if gain >= speedup * (1 - 1e-2) and gain <= dial.max_flops:
            anchors.append(Anchor(speedup, profile.keep, profile.short_length, level))
    return replace(dial, profile_type="searched", anchors=tuple(anchors)) if anchors else dial
