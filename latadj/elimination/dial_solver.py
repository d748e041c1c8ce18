"""Finds the profile of a speedup along a dial, by bisection. Needs no torch."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from latadj.elimination.profiles import PROFILE_TYPES, SMALLEST_RATIO, Profile, in_steps, searched_lengths

if TYPE_CHECKING:
    from latadj.elimination.dial import Dial

# How the whole model's tokens are cut up to the first speedup that a searched level has.
UNTIL_LEVELS = "geometric"
# Strengths of each part that stand for all.
STRENGTHS, WEAKEST = 33, 1e-3


def parts_of(dial: "Dial") -> list["Dial"]:
    """The dial in parts, each of a single level, by rising speedup; a dial without searched levels is one part."""
    if dial.profile_type != "searched":
        return [dial]
    levels = list(dict.fromkeys(anchor.level for anchor in dial.anchors))
    if len(levels) == 1:
        return [dial]
    return [
        replace(dial, anchors=tuple(anchor for anchor in dial.anchors if anchor.level == level)) for level in levels
    ]


def profile_at(dial: "Dial", strength: float) -> Profile:
    """Profile of the dial's type; strength 0 keeps all, more strength keeps less (monotone in every layer).

    Parameters
    ----------
    dial : of one level, as of :func:`parts_of`
    """
    keep = PROFILE_TYPES[dial.profile_type](strength, dial.layer_acc, dial.anchors)
    keep = np.minimum.accumulate(np.clip(keep, SMALLEST_RATIO, 1.0))
    searched = dial.profile_type == "searched"
    short, whole = searched_lengths(strength, dial.anchors) if searched else (dial.short_length, 0.0)
    level = dial.anchors[0].level if searched else None
    return Profile(tuple(in_steps(keep, dial.every).tolist()), short, level, whole).held(dial.attending(level))


def settings_of(dial: "Dial") -> list[Profile]:
    """Profiles that cut in every layer, at every level, where any setting of a dial cuts, whatever it is marked in."""
    parts = parts_of(dial)
    if dial.profile_type == "searched" and dial.anchors and dial.anchors[0].level is not None:
        parts = [replace(dial, profile_type=UNTIL_LEVELS, anchors=()), *parts]
    found = [Profile.full(dial.layers)]
    for part in parts:
        # Of some profile types the floor is far beyond the strengths that differ.
        at = [0.0, *np.geomspace(WEAKEST, max(_floor(part), WEAKEST), STRENGTHS)]
        at += [math.log(anchor.speedup) for anchor in part.anchors]
        found += [profile_at(part, float(strength)) for strength in sorted(at)]
    return found


@lru_cache(maxsize=512)
def _floor(dial: "Dial") -> float:
    """The strength at which the dial's profile type reaches the quality floor, or can cut no further."""
    return least_strength(lambda strength: dial.speedup_of(profile_at(dial, strength)), dial.max_flops)


@lru_cache(maxsize=512)
def reach_of(dial: "Dial") -> float:
    """The largest speedup above the quality floor."""
    # Where choosing costs more than it saves, in a tiny model, no profile is as fast as the full one.
    profiles = (Profile.full(dial.layers), *(profile_at(part, _floor(part)) for part in parts_of(dial)))
    return max(dial.predicted(profile) for profile in profiles)


@lru_cache(maxsize=4096)
def solved(dial: "Dial", speedup: float) -> Profile:
    """Profile of a speedup, as :meth:`latadj.elimination.dial.Dial.profile` gives it.

    Raises
    ------
    ValueError
        if the dial does not reach it.
    """
    full = Profile.full(dial.layers)
    if dial.predicted(full) >= speedup * (1 - 1e-3):
        return full
    parts, reach = parts_of(dial), reach_of(dial)
    if reach < speedup * (1 - 1e-3):
        where = f"on this device at batch {dial.latency.batch}" if dial.latency else "on these lengths"
        raise ValueError(
            f"speedup={speedup:g} is out of reach: profile={dial.profile_type} ends at {reach:.2f}x {where}, "
            f"where FLOPs are cut {dial.speedup_of(profile_at(parts[-1], _floor(parts[-1]))):.1f}x"
            + ("; ask for less, or take dial.target=flops" if dial.latency else "")
        )
    place = next((place for place, part in enumerate(parts) if _end(part) >= speedup), len(parts) - 1)
    # A level that is too fast with all its tokens waits: the one before goes on with fewer. The last levels may end
    # earlier than one before them, by the quality floor.
    order = [*parts[place:], *reversed(parts[:place])]
    if parts[place].predicted(profile_at(parts[place], 0.0)) > speedup * (1 + 1e-3):
        slower = parts[place - 1] if place else replace(dial, profile_type=UNTIL_LEVELS, anchors=())
        order.insert(0, slower)
    return next((found for part in order if (found := _within(part, speedup)) is not None), full)


def _end(part: "Dial") -> float:
    """The speedup at which a part's searched profiles end."""
    return part.anchors[-1].speedup if part.anchors else math.inf


def _within(part: "Dial", speedup: float) -> Profile | None:
    """The profile of a speedup at a dial's one level; None if it does not go so far."""
    floor = _floor(part)
    if part.predicted(profile_at(part, floor)) < speedup * (1 - 1e-3):
        return None
    strength = least_strength(lambda strength: part.predicted(profile_at(part, strength)), speedup, floor)
    profile = profile_at(part, strength)
    if part.profile_type != "searched":
        return profile
    # Tokens are whole, so several profiles cost the same on these lengths: one that was searched comes first.
    found = (profile_at(part, math.log(anchor.speedup)) for anchor in part.anchors)
    return next((own for own in found if part.predicted(own) == part.predicted(profile)), profile)


def least_strength(speedup_at: Callable[[float], float], target: float, limit: float = 2.0**20) -> float:
    """The least strength that gives a target speedup, by bisection; ``limit`` if none up to there does."""
    low, high = 0.0, min(1.0, limit)
    while speedup_at(high) < target:
        if high >= limit:
            return limit
        low, high = high, min(high * 2, limit)
    for _ in range(40):
        middle = (low + high) / 2
        if speedup_at(middle) < target:
            low = middle
        else:
            high = middle
    return high
