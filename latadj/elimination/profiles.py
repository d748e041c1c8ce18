"""Profiles (how many tokens each layer keeps) and the dial that finds one for a wanted speedup."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from latadj.elimination.cost import POOLED, READS, LayerShape, flops_speedup
from latadj.elimination.latency_model import LatencyModel
from latadj.elimination.layer_structure import held
from latadj.elimination.observation_window import WHOLE, ObservationWindow

PROFILE_TYPES = ("geometric", "flat", "acc", "searched")
SCORE_NAMES = ("acc", "attention", "random", "position", "recent")
# Below this a layer keeps next to nothing; profiles that starve every layer alike are not worth solving for.
SMALLEST_RATIO = 0.01


@dataclass(frozen=True)
class Profile:
    """Keep ratio of each layer: ``1 >= k_1 >= ... >= k_L > 0``.

    Raises
    ------
    ValueError
        if a ratio lies outside (0, 1] or a later layer would keep more than an earlier one.
    """

    keep: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", tuple(float(ratio) for ratio in self.keep))
        previous = 1.0
        for layer, ratio in enumerate(self.keep, start=1):
            if not 0.0 < ratio <= 1.0:
                raise ValueError(f"keep ratio of layer {layer} is {ratio}: expected a number above 0, at most 1")
            if ratio > previous + 1e-9:
                raise ValueError(
                    f"keep ratio of layer {layer} is {ratio:.3f}, above {previous:.3f} of the layer before: "
                    "an eliminated token cannot come back, so ratios must not rise"
                )
            previous = ratio

    @classmethod
    def full(cls, layers: int) -> "Profile":
        """The profile that eliminates nothing."""
        return cls((1.0,) * layers)

    @property
    def eliminates(self) -> bool:
        return any(ratio < 1.0 for ratio in self.keep)


@dataclass(frozen=True)
class Anchor:
    """A profile that a search found for one speedup."""

    speedup: float
    keep: tuple[float, ...]


@dataclass(frozen=True)
class Dial:
    """Speedup -> profile, for one model and the lengths of one data set.

    Without ``latency`` the dial is marked in FLOPs, counted from the plain model; with it, in the time that one
    device takes, counted from the dial's own speedup 1.

    layer_acc : layer ACC of each layer, the effective fraction of tokens that contribute
    lengths : real tokens of sequences that stand for the data; FLOPs speedups are solved over these
    shapes : linear maps of each layer
    reads : ``pooled``, ``all`` or ``survivors``, where the model's head reads
    max_speedup : the largest speedup that may be asked for
    profile_type : ``geometric`` (each layer cuts alike), ``flat`` (the first layer cuts, once), ``acc`` or ``searched``
    score : which score ranks tokens
    anchors : what the search found, by rising speedup; empty without a search
    max_flops : quality floor: no profile is cut further than this FLOPs speedup
    every : eliminate in every so many layers only, further each time: fewer small steps for the same FLOPs
    window : who is asked, and who is protected; decoders only
    protected : tokens of a sequence that a task never lets go, on the mean
    latency : how long a device takes; not part of the dial's JSON form, since devices differ
    """

    layer_acc: tuple[float, ...]
    lengths: tuple[int, ...]
    shapes: tuple[LayerShape, ...]
    reads: str = POOLED
    max_speedup: float = 5.0
    profile_type: str = "acc"
    score: str = "acc"
    anchors: tuple[Anchor, ...] = ()
    max_flops: float = 8.0
    every: int = 1
    window: ObservationWindow = WHOLE
    protected: int = 0
    latency: LatencyModel | None = None

    def __post_init__(self) -> None:
        if self.profile_type not in PROFILE_TYPES:
            raise ValueError(f"profile={self.profile_type}: expected one of {', '.join(PROFILE_TYPES)}")
        if self.profile_type == "searched" and not self.anchors:
            raise ValueError(
                "profile_type=searched: this dial holds no searched profiles; calibrate with search.trials > 0"
            )
        if self.reads not in READS:
            raise ValueError(f"reads={self.reads}: expected one of {', '.join(READS)}")
        if len(self.layer_acc) != len(self.shapes):
            raise ValueError(f"the dial has {len(self.layer_acc)} layer ACCs for {len(self.shapes)} layers")
        if self.every < 1:
            raise ValueError(f"every={self.every}: expected at least 1")
        if self.score not in SCORE_NAMES:
            raise ValueError(f"score={self.score}: expected one of {', '.join(SCORE_NAMES)}")
        if self.protected < 0:
            raise ValueError(f"protected={self.protected}: expected at least 0 tokens")
        if any(len(anchor.keep) != len(self.shapes) for anchor in self.anchors):
            raise ValueError(f"a searched profile of this dial does not have {len(self.shapes)} keep ratios")
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError("the dial needs at least one length, each at least 1")

    @property
    def layers(self) -> int:
        return len(self.shapes)

    @property
    def attending(self) -> list[bool]:
        """Which layers have attention to choose by."""
        return [shape.attends for shape in self.shapes]

    def with_profile_type(self, profile_type: str) -> "Dial":
        """The same dial with another profile_type of profiles."""
        return replace(self, profile_type=profile_type)

    @property
    def target(self) -> str:
        """What the dial is marked in: ``latency`` or ``flops``."""
        return "flops" if self.latency is None else "latency"

    def on(self, latency: LatencyModel, lengths: Sequence[int] | None = None) -> "Dial":
        """The same dial marked in the time a device takes for a workload of these lengths; if None, its own."""
        return replace(self, latency=latency, lengths=tuple(lengths) if lengths else self.lengths)

    def speedup_of(self, profile: Profile) -> float:
        """FLOPs speedup of a profile over the dial's lengths, counted from the plain model."""
        return flops_speedup(self.shapes, profile.keep, np.asarray(self.lengths), self.reads, self.protected)

    def predicted(self, profile: Profile) -> float:
        """Speedup of a profile as the dial is marked: in time over the dial's speedup 1, or in FLOPs."""
        if self.latency is None:
            return self.speedup_of(profile)
        lengths, seconds = np.asarray(self.lengths), self.latency.seconds
        full = seconds(Profile.full(self.layers).keep, lengths, self.reads)
        return float(full.sum() / seconds(profile.keep, lengths, self.reads, self.protected).sum())

    def reach(self) -> float:
        """The largest speedup that may be asked for: by ``max_speedup``, the profile_type and the quality floor."""
        return min(self.max_speedup, _reach(self))

    def reaches(self, speedup: float) -> bool:
        """Whether a speedup may be asked for, give or take what solving for it does."""
        return speedup <= self.reach() * (1 + 1e-3)

    def profile(self, speedup: float) -> Profile:
        """Profile whose speedup is the one asked for.

        In FLOPs, lossless trimming alone may exceed a small speedup; then nothing else is eliminated.

        Raises
        ------
        ValueError
            if ``speedup`` is below 1, above ``max_speedup``, or out of reach of the profile_type.
        """
        if not (isinstance(speedup, (int, float)) and math.isfinite(speedup) and speedup >= 1.0):
            raise ValueError(f"speedup={speedup}: expected a number from 1 to {self.max_speedup:g}")
        if speedup > self.max_speedup + 1e-9:
            raise ValueError(
                f"speedup={speedup:g} is beyond this dial, which goes to {self.max_speedup:g}: "
                f"ask for 1 to {self.max_speedup:g}, or calibrate again with max_speedup={math.ceil(speedup)}"
            )
        return _solve(self, float(speedup))

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "latency"}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Dial":
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ValueError
            if a field is missing, unknown or of the wrong kind.
        """
        try:
            fields = dict(data)
            fields["layer_acc"] = tuple(float(value) for value in data["layer_acc"])
            fields["lengths"] = tuple(int(value) for value in data["lengths"])
            fields["max_speedup"] = float(data["max_speedup"])
            fields["protected"] = int(data.get("protected", cls.protected))
            fields["every"] = int(data.get("every", cls.every))
            fields["max_flops"] = float(data.get("max_flops", cls.max_flops))
            fields["window"] = ObservationWindow(**data.get("window", {}))
            fields["shapes"] = tuple(LayerShape(**shape) for shape in data["shapes"])
            fields["anchors"] = tuple(
                Anchor(float(anchor["speedup"]), Profile(tuple(anchor["keep"])).keep)
                for anchor in data.get("anchors", ())
            )
            return cls(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a dial: {error}") from error


def family_profile(dial: Dial, strength: float) -> Profile:
    """Member of the dial's profile_type; strength 0 keeps all, more strength keeps less (monotone in every layer)."""
    layers = dial.layers
    if dial.profile_type == "geometric":
        keep = np.exp(-strength * np.arange(1, layers + 1))
    elif dial.profile_type == "flat":
        keep = np.full(layers, math.exp(-strength))
    elif dial.profile_type == "acc":
        keep = np.exp(strength * np.cumsum(np.log(np.clip(dial.layer_acc, 1e-6, 0.999))))
    else:
        keep = _between_anchors(dial.anchors, strength)
    keep = np.minimum.accumulate(np.clip(keep, SMALLEST_RATIO, 1.0))
    return Profile(held(in_steps(keep, dial.every).tolist(), dial.attending))


def in_steps(keep: np.ndarray, every: int) -> np.ndarray:
    """(layers,) keep ratios that fall in every so many layers only, each time to where the last of them would be."""
    layers = len(keep)
    last = np.minimum((np.arange(layers) // every + 1) * every, layers) - 1
    return keep[last]


def _between_anchors(anchors: Sequence[Anchor], strength: float) -> np.ndarray:
    # Log keep ratios are linear in log speedup for a geometric profile, so interpolating there bends least.
    knots = np.array([0.0, *(math.log(anchor.speedup) for anchor in anchors)])
    ratios = np.log(np.array([[1.0] * len(anchors[0].keep), *(anchor.keep for anchor in anchors)]))
    if strength <= knots[-1]:
        return np.exp([np.interp(strength, knots, column) for column in ratios.T])
    # Past the last anchor every layer keeps shrinking at one common rate.
    return np.exp(ratios[-1] - (strength - knots[-1]))


@lru_cache(maxsize=512)
def _floor(dial: Dial) -> float:
    """The strength at which the dial's profile_type reaches the quality floor, or can cut no further."""
    return _strength(lambda strength: dial.speedup_of(family_profile(dial, strength)), dial.max_flops)


def _reach(dial: Dial) -> float:
    # Where choosing costs more than it saves, in a tiny model, no profile is as fast as the full one.
    profiles = (Profile.full(dial.layers), family_profile(dial, _floor(dial)))
    return max(dial.predicted(profile) for profile in profiles)


@lru_cache(maxsize=4096)
def _solve(dial: Dial, speedup: float) -> Profile:
    full = Profile.full(dial.layers)
    if dial.predicted(full) >= speedup * (1 - 1e-3):
        return full
    floor, reach = _floor(dial), _reach(dial)
    if reach < speedup * (1 - 1e-3):
        where = f"on this device at batch {dial.latency.batch}" if dial.latency else "on these lengths"
        raise ValueError(
            f"speedup={speedup:g} is out of reach: profile={dial.profile_type} ends at {reach:.2f}x {where}, "
            f"where FLOPs are cut {dial.speedup_of(family_profile(dial, floor)):.1f}x"
            + ("; ask for less, or take dial.target=flops" if dial.latency else "")
        )
    strength = _strength(lambda strength: dial.predicted(family_profile(dial, strength)), speedup, floor)
    return family_profile(dial, strength)


def _strength(speedup_at: Callable[[float], float], wanted: float, most: float = 2.0**20) -> float:
    """The least strength that gives a wanted speedup, by bisection; ``most`` if none up to there does."""
    low, high = 0.0, min(1.0, most)
    while speedup_at(high) < wanted:
        if high >= most:
            return most
        low, high = high, min(high * 2, most)
    for _ in range(40):
        middle = (low + high) / 2
        if speedup_at(middle) < wanted:
            low = middle
        else:
            high = middle
    return high
