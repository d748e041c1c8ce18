"""Search for the profile of a given cost whose outputs stay closest to the full model's."""

from collections.abc import Callable, Sequence

import numpy as np

from latadj.elimination.cost import POOLED
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import SMALLEST_RATIO, Anchor, Profile, in_steps

# How far beyond the dial's own `short_length` a searched profile's may be.
MOST_SHORT_LENGTH = 3.0
# Of the `short_length` of a slower profile, where the search for a faster one begins.
SHORTER = (1.0, 0.8, 0.6)


def search_anchors(
    dial: Dial,
    divergence: Callable[[Profile], float],
    speedups: Sequence[float],
    trials: int,
    seed: int,
    advance: Callable[[float, float], object] = lambda speedup, best: None,
) -> tuple[Anchor, ...]:
    """The best profile found for each speedup, each one inside the one before.

    A profile is a direction (how fast the log keep ratio falls in each layer), its ``short_length``, and the strength
    at which that direction costs what the speedup allows. The search starts from the geometric and the ACC direction
    and the one that won at the speedup before, then changes the best so far at random, in ever smaller steps.

    Parameters
    ----------
    dial : gives layer ACC, shapes and lengths
    divergence : how far outputs under a profile are from the full model's; smaller = better
    speedups : to search for, in the dial's unit: a device's time, so that cuts which save none are not made,
        or in FLOPs. Those that lossless trimming reaches alone are left out.
    trials : profiles tried for each speedup
    seed : of the random changes
    advance : called after every trial with the speedup and the best divergence so far

    Returns
    -------
    anchors by rising speedup; those out of reach are left out
    """
    free = dial.layers - 1 if dial.reads == POOLED else dial.layers  # a trimmed layer's ratio changes nothing
    free = max(free, 1)
    rng = np.random.default_rng(seed)
    acc_direction = -np.log(np.clip(dial.layer_acc[:free], 1e-3, 0.999))
    directions = [np.ones(free), acc_direction, np.linspace(0.1, 1.0, free)]
    if dial.shapes[0].causal:
        # Decoders rely on recent tokens: one deep cut at the start is often their best.
        directions.append(np.concatenate([[1.0], np.full(free - 1, 0.01)]))
    starts = [(direction, dial.short_length) for direction in directions]
    outer = Profile((1.0,) * dial.layers, MOST_SHORT_LENGTH * dial.short_length)
    anchors: list[Anchor] = []
    for speedup in sorted(speedups):
        if dial.predicted(Profile.full(dial.layers)) >= speedup:
            continue
        best: tuple[float, np.ndarray, Profile] | None = None
        for trial in range(max(trials, len(starts))):
            if trial < len(starts) or best is None:
                direction, short_length = starts[trial % len(starts)]
            else:
                step = 0.9 * 0.3 ** (trial / trials)
                direction = best[1] * np.exp(step * rng.standard_normal(free))
                short_length = best[2].short_length * float(np.exp(step * rng.standard_normal()))
            profile = _at_speedup(dial, direction, min(short_length, outer.short_length), outer, speedup)
            if profile is not None:
                distance = divergence(profile)
                if best is None or distance < best[0]:
                    best = (distance, direction, profile)
            advance(speedup, best[0] if best else float("nan"))
        if best is None:
            break
        outer = best[2]
        anchors.append(Anchor(speedup, outer.keep, outer.short_length))
        # Faster profiles afford less: what is spared for short texts is taken from long ones.
        lengths = [share * outer.short_length for share in SHORTER] if outer.short_length else [0.0]
        starts = [(best[1], length) for length in lengths]
        starts += [(direction, lengths[len(lengths) // 2]) for direction in (np.ones(free), acc_direction)]
    return tuple(anchors)


def _at_speedup(
    dial: Dial, direction: np.ndarray, short_length: float, outer: Profile, speedup: float
) -> Profile | None:
    """The profile along ``direction``, inside ``outer``, of that speedup; None if none above the quality floor is."""
    fall = np.cumsum(direction / direction.sum())
    fall = np.concatenate([fall, np.repeat(fall[-1:], dial.layers - len(fall))])

    def profile(strength: float) -> Profile:
        keep = np.minimum(outer.keep, np.clip(np.exp(-strength * fall), SMALLEST_RATIO, 1.0))
        return Profile(tuple(in_steps(keep, dial.every).tolist()), short_length).held(dial.attending)

    low, high = 0.0, 16.0
    if dial.predicted(profile(high)) < speedup:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        if dial.predicted(profile(middle)) < speedup:
            low = middle
        else:
            high = middle
    deepest = profile(high)
    return deepest if dial.speedup_of(deepest) <= dial.max_flops else None
