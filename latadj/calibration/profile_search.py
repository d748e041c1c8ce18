"""Search for the profile of a given cost whose outputs stay closest to the full model's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, product

import numpy as np

from latadj.calibration.candidates import Candidate, RandomChanges, StrategyOf
from latadj.elimination.cost import ALL, POOLED, flops, whole_level
from latadj.elimination.dial import Dial, takes_whole_texts
from latadj.elimination.dial_solver import least_strength
from latadj.elimination.levels import Level
from latadj.elimination.profiles import SMALLEST_RATIO, Anchor, Profile, in_steps

# How far beyond the dial's own `short_length` a searched profile's may be.
MOST_SHORT_LENGTH = 3.0
# Of the `short_length` of a slower profile, where the search for a faster one begins.
SHORTER = (1.0, 0.8, 0.6)
# Of the dial's own, where it begins at a level: short texts are read whole there, so that sparing less is tried too.
SPARED_AT_LEVELS = (1.0, 0.25)
# `whole_length` over the dial's own `short_length`, so that it comes to the tokens of eight words, and the share of a
# pass that texts up to there may take.
WHOLE_LENGTH, WHOLE_SHARE = 1.5, 1 / 16
# How much of a speedup's logarithm width gives, where the search for a level begins: all layers alike.
WIDTH_SHARES = (0.7, 0.85, 0.5)
# A layer that would use less than this share of its heads, or of its neurons, uses none.
LEAST_SHARE = 1 / 24


def search_anchors(
    dial: Dial,
    divergence: Callable[[Profile], float],
    speedups: Sequence[float],
    trials: int,
    seed: int,
    advance: Callable[[float, float], object] = lambda speedup, best: None,
    levels: int | None = None,
    strategy: StrategyOf = RandomChanges,
) -> tuple[Anchor, ...]:
    """The best profile found for each speedup, its level inside the one before.

    A profile is a direction (how fast the log keep ratio falls in each layer), its ``short_length``, and the strength
    at which that direction costs what the speedup allows; where the model's widths were trained, also how much of the
    speedup width gives, and a direction of heads and of neurons. The search starts from the geometric and the ACC
    direction, at levels of which all layers are alike, and from what won at the speedup before; the strategy chooses
    what follows.

    Parameters
    ----------
    dial : gives layer ACC, shapes, lengths and widths
    divergence : how far outputs under a profile are from the full model's; smaller = better
    speedups : to search for, in the dial's unit: a device's time, so that cuts which save none are not made,
        or in FLOPs. Those that lossless trimming reaches alone are left out.
    trials : profiles tried for each speedup
    seed : of the random changes
    advance : called after every trial with the speedup and the best divergence so far
    levels : how many there may be; between them tokens alone are cut further. None: one for each speedup
    strategy : made anew for each speedup

    Returns
    -------
    anchors by rising speedup; those out of reach are left out
    """
    rng = np.random.default_rng(seed)
    outer = Profile((1.0,) * dial.layers, MOST_SHORT_LENGTH * dial.short_length)
    possible = [speedup for speedup in sorted(speedups) if dial.predicted(Profile.full(dial.layers)) < speedup]
    alike = -(-len(possible) // levels) if levels else 1
    anchors: list[Anchor] = []
    before: Candidate | None = None
    for place, speedup in enumerate(possible):
        chooses = strategy(_starts(dial, before, narrower=place % alike == 0), trials, rng)
        outer = replace(outer, whole_length=whole_length(dial, speedup))
        best: tuple[float, Candidate, Profile] | None = None
        for _ in range(trials):
            candidate = chooses.ask()
            profile = profile_along(dial, candidate, outer, speedup)
            if profile is None:
                chooses.tell(candidate, None)
            else:
                candidate, distance = replace(candidate, short_length=profile.short_length), divergence(profile)
                chooses.tell(candidate, distance)
                if best is None or distance < best[0]:
                    best = (distance, candidate, profile)
            advance(speedup, best[0] if best else float("nan"))
        if best is None:
            break
        before, outer = best[1], best[2]
        anchors.append(Anchor(speedup, outer.keep, outer.short_length, outer.level, outer.whole_length))
    return tuple(anchors)


def whole_length(dial: Dial, speedup: float) -> float:
    """Up to how many tokens texts use the whole model beside a level: as many as are cheap at a speedup; 0: none.

    It is not searched, since the mean over texts hardly notices how the few shortest are read.
    """
    if not takes_whole_texts(dial.shapes, dial.reads):
        return 0.0
    lengths, full = np.asarray(dial.lengths), Profile.full(dial.layers)
    costs = dial.seconds(full, lengths) if dial.latency else flops(dial.shapes, full, lengths, dial.reads)
    for tokens in range(int(WHOLE_LENGTH * dial.short_length), 0, -1):
        if costs[lengths <= tokens].sum() * speedup <= WHOLE_SHARE * costs.sum():
            return float(tokens)
    return 0.0


def _starts(dial: Dial, before: Candidate | None, narrower: bool) -> list[Candidate]:
    """Where the search for a speedup begins.

    Parameters
    ----------
    before : what won at the speedup before
    narrower : whether another level may be taken, where the model has any
    """
    by_acc = acc_direction(dial)
    free = len(by_acc)
    at_once = np.concatenate([[1.0], np.full(free - 1, 0.01)])
    # Choosing takes time, so that every second layer may cut for two.
    directions = [np.ones(free), by_acc, (np.arange(free) % 2 == 0).astype(float)]
    # What is eliminated counts too where all tokens are read: few of them in all layers may tell more than many in few.
    deep = [at_once] if dial.reads == ALL else []
    directions += deep
    at_levels = list(directions)
    if before is None:
        directions.append(np.linspace(0.1, 1.0, free))
        if dial.shapes[0].causal and not deep:
            # Decoders rely on recent tokens: one deep cut at the start is often their best.
            directions.append(at_once)
        lengths = [dial.short_length]
    else:
        # Faster profiles afford less: what is spared for short texts is taken from long ones.
        lengths = [share * before.short_length for share in SHORTER] if before.short_length else [0.0]
    middle = lengths[len(lengths) // 2]
    holds = not (dial.widths and narrower)
    again = [replace(before, short_length=length, holds_level=holds) for length in lengths] if before else []
    if holds:
        first = replace(before or Candidate(directions[0], 0.0), short_length=middle, holds_level=True)
        return again + [replace(first, tokens=each) for each in directions]
    even = np.ones(dial.layers)
    turns = zip(product(WIDTH_SHARES, at_levels), cycle(SPARED_AT_LEVELS), strict=False)
    return [
        *again,
        *(Candidate(tokens, spared * dial.short_length, share, even, even) for (share, tokens), spared in turns),
        *(Candidate(each, middle, 0.0, even, even) for each in (directions[0], *deep)),
    ]


def acc_direction(dial: Dial) -> np.ndarray:
    """How fast the log keep ratio falls in each layer that can cut, by its ACC."""
    free = max(dial.layers - 1 if dial.reads == POOLED else dial.layers, 1)  # a trimmed layer's ratio changes nothing
    return -np.log(np.clip(dial.layer_acc[:free], 1e-3, 0.999))


def profile_along(dial: Dial, candidate: Candidate, outer: Profile, speedup: float) -> Profile | None:
    """A candidate's profile of a speedup, inside ``outer``; None if none above the quality floor is."""
    level = outer.level
    if candidate.heads is not None and candidate.neurons is not None and not candidate.holds_level:
        gain = speedup**candidate.width_share
        level = _level(dial, candidate.heads, candidate.neurons, outer.level, gain)
    # A narrower level may keep more tokens than the one before it.
    before = outer.keep if level == outer.level else (1.0,) * dial.layers
    short_length = min(candidate.short_length, outer.short_length)
    longest = 0.0 if level is None else outer.whole_length
    fall = np.cumsum(candidate.tokens / candidate.tokens.sum())
    fall = np.concatenate([fall, np.repeat(fall[-1:], dial.layers - len(fall))])
    attending = dial.attending(level)

    def profile(strength: float) -> Profile:
        keep = np.minimum(before, np.clip(np.exp(-strength * fall), SMALLEST_RATIO, 1.0))
        return Profile(tuple(in_steps(keep, dial.every).tolist()), short_length, level, longest).held(attending)

    if dial.predicted(profile(16.0)) < speedup:
        return None
    deepest = profile(least_strength(lambda strength: dial.predicted(profile(strength)), speedup, 16.0))
    return deepest if dial.speedup_of(deepest) <= dial.max_flops else None


def _level(dial: Dial, heads: np.ndarray, neurons: np.ndarray, outer: Level | None, speedup: float) -> Level | None:
    """The level inside ``outer`` along two directions whose speedup, all tokens kept, is this at most."""
    whole = whole_level(dial.shapes)
    outer = outer or whole

    def level(strength: float) -> Level:
        return narrower(whole, outer, np.exp(-strength * heads), np.exp(-strength * neurons))

    def gain(strength: float) -> float:
        return dial.predicted(Profile((1.0,) * dial.layers, level=level(strength)))

    strength = least_strength(gain, speedup * (1 + 1e-3), 8.0)
    found = level(max(strength - 1e-3, 0.0))
    return None if found == whole else found


def narrower(whole: Level, outer: Level, heads: np.ndarray, neurons: np.ndarray) -> Level:
    """The level at which layers have these shares of their heads and neurons, but no more than another level.

    Shares next to nothing are none; the last layer keeps a head and a group of neurons.
    """
    last = np.arange(whole.layers) == whole.layers - 1
    heads, neurons = (
        np.where(last, np.maximum(shares, LEAST_SHARE), np.where(shares < LEAST_SHARE, 0.0, shares))
        for shares in (heads, neurons)
    )
    scaled = whole.scaled(heads.tolist(), neurons.tolist())
    return Level(
        tuple(np.minimum(scaled.heads, outer.heads).tolist()), tuple(np.minimum(scaled.neurons, outer.neurons).tolist())
    )
