"""The dial: finds the profile for a wanted speedup, in FLOPs or in one device's time. Needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import numpy as np

from latadj.elimination.cost import ALL, POOLED, READS, LayerShape, check_levels, flops_speedup, shapes_at
from latadj.elimination.dial_solver import reach_of, solved
from latadj.elimination.drops import MeasuredDrop, check_drops, drop_at, speedup_within
from latadj.elimination.latency_model import LatencyModel, level_shares
from latadj.elimination.levels import Level
from latadj.elimination.observation_window import WHOLE, ObservationWindow
from latadj.elimination.profiles import PROFILE_TYPES, Anchor, Profile
from latadj.elimination.scores import SCORES
from latadj.utils.serialization import AT_LEAST_1, NOT_NEGATIVE, Bounds, Entries, omit

# Far more than a dial has: solving it takes time and memory for each layer at each length.
MOST_LAYERS, MOST_LENGTHS, MOST_CELLS = 1024, 2**18, 2**23


@dataclass(frozen=True)
class Dial:
    """Speedup -> profile, for one model and the lengths of one data set.

    Without ``latency`` the dial is marked in FLOPs, counted from the plain model; with it, in the time that one
    device takes, counted from the dial's own speedup 1.

    layer_acc : layer ACC of each layer, the effective fraction of tokens that contribute
    lengths : real tokens of sequences that stand for the data; FLOPs speedups are solved over these
    shapes : linear layers of each transformer layer
    reads : ``pooled``, ``all`` or ``survivors``, where the model's head reads
    max_speedup : the largest speedup that the dial goes to
    profile_type : a name in ``PROFILE_TYPES``
    score : which score ranks tokens, a name in ``SCORES``
    anchors : what the search found, by rising speedup; empty without a search
    max_flops : quality floor: no profile is cut further than this FLOPs speedup
    every : eliminate in every so many layers only, further each time: fewer small steps for the same FLOPs
    window : whose attention is scored, and who is protected; decoders only
    protected : mean number of tokens of a sequence that a task never lets go
    short_length : as in :class:`~latadj.elimination.profiles.Profile`; searched profiles have their own
    widths : shares of every layer's heads and neurons that the model was trained at; empty: tokens alone
    drops : what was measured to be lost along the dial, on validation text; empty: nothing was
    latency : how long a device takes; not part of the dial's JSON form
    """

    layer_acc: Annotated[tuple[Annotated[float, Bounds(0, 10)], ...], Entries(MOST_LAYERS, 1)]
    lengths: Annotated[tuple[Annotated[int, Bounds(1, 2**24)], ...], Entries(MOST_LENGTHS, 1)]
    shapes: Annotated[tuple[LayerShape, ...], Entries(MOST_LAYERS, 1)]
    reads: str = POOLED
    max_speedup: Annotated[float, AT_LEAST_1] = 5.0
    profile_type: str = "acc"
    score: str = "acc"
    anchors: Annotated[tuple[Anchor, ...], Entries(MOST_LAYERS)] = ()
    max_flops: Annotated[float, AT_LEAST_1] = 8.0
    every: int = 1
    window: ObservationWindow = WHOLE
    protected: Annotated[int, NOT_NEGATIVE] = 0
    short_length: Annotated[float, NOT_NEGATIVE] = 0.0
    widths: Annotated[tuple[Annotated[float, Bounds(0, 1)], ...], Entries(MOST_LAYERS)] = ()
    drops: Annotated[tuple[MeasuredDrop, ...], Entries(MOST_LAYERS)] = ()
    latency: LatencyModel | None = None

    def __post_init__(self) -> None:
        if self.profile_type not in PROFILE_TYPES:
            raise ValueError(f"profile={self.profile_type}: expected one of {', '.join(PROFILE_TYPES)}")
        if self.profile_type == "searched" and not self.anchors:
            raise ValueError("profile=searched: this dial holds no searched profiles; calibrate with search.trials > 0")
        if self.reads not in READS:
            raise ValueError(f"reads={self.reads}: expected one of {', '.join(READS)}")
        if len(self.layer_acc) != len(self.shapes):
            raise ValueError(f"the dial has {len(self.layer_acc)} layer ACCs for {len(self.shapes)} layers")
        if self.every < 1:
            raise ValueError(f"every={self.every}: expected at least 1")
        if self.score not in SCORES:
            raise ValueError(f"score={self.score}: expected one of {', '.join(SCORES)}")
        if self.protected < 0:
            raise ValueError(f"protected={self.protected}: expected at least 0 tokens")
        if not 0 <= self.short_length < math.inf:
            raise ValueError(f"short_length={self.short_length}: expected a number of at least 0")
        if any(len(anchor.keep) != len(self.shapes) for anchor in self.anchors):
            raise ValueError(f"a searched profile of this dial does not have {len(self.shapes)} keep ratios")
        if any(after.speedup < before.speedup for before, after in pairwise(self.anchors)):
            raise ValueError("the searched profiles of this dial are not in the order of their speedups")
        check_levels(self.shapes, self.anchors)
        if any(anchor.whole_length for anchor in self.anchors) and not takes_whole_texts(self.shapes, self.reads):
            raise ValueError("whole_length: a level holds for all texts of a decoder, and of a model that feeds one")
        check_drops(self)
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError("the dial needs at least one length, each at least 1")
        if len(self.lengths) > MOST_LENGTHS or len(self.lengths) * len(self.shapes) > MOST_CELLS:
            raise ValueError(f"{len(self.lengths):,} lengths for {len(self.shapes)} layers are more than a dial holds")

    @property
    def layers(self) -> int:
        return len(self.shapes)

    def attending(self, level: Level | None) -> list[bool]:
        """Which layers have attention to choose by, at a level."""
        return [shape.attends for shape in shapes_at(self.shapes, level)]

    @property
    def levels(self) -> list[Level]:
        """The levels of the searched profiles, the widest first; the whole model is not among them."""
        return [level for level in dict.fromkeys(anchor.level for anchor in self.anchors) if level is not None]

    @property
    def ordered(self) -> bool:
        """Whether it goes by the order of heads and neurons in the weights."""
        return bool(self.widths or self.levels)

    def with_profile_type(self, profile_type: str) -> "Dial":
        """The same dial with another type of profiles; drops were measured for one type only."""
        return replace(self, profile_type=profile_type, drops=self.drops if profile_type == self.profile_type else ())

    @property
    def target(self) -> str:
        """What the dial is marked in: ``latency`` or ``flops``."""
        return "flops" if self.latency is None else "latency"

    def on(self, latency: LatencyModel, lengths: Sequence[int] | None = None) -> "Dial":
        """The same dial marked in the time a device takes for a workload of these lengths; if None, its own."""
        return replace(self, latency=latency, lengths=tuple(lengths) if lengths else self.lengths)

    def speedup_of(self, profile: Profile) -> float:
        """FLOPs speedup of a profile over the dial's lengths, counted from the plain model."""
        return flops_speedup(self.shapes, profile, np.asarray(self.lengths), self.reads, self.protected)

    def predicted(self, profile: Profile) -> float:
        """Speedup of a profile as the dial is marked: in time over the dial's speedup 1, or in FLOPs."""
        if self.latency is None:
            return self.speedup_of(profile)
        full = self.seconds(Profile.full(self.layers), self.lengths)
        return float(full.sum() / self.seconds(profile, self.lengths).sum())

    def seconds(self, profile: Profile, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
        """Seconds that the device takes for a batch of each length: (lengths,).

        Raises
        ------
        ValueError
            if the dial is in FLOPs.
        """
        if self.latency is None:
            raise ValueError("a dial in FLOPs knows no time: calibrate this device")
        lengths, shares = np.asarray(lengths), level_shares(self.shapes, profile.level)
        seconds = self.latency.seconds(profile, lengths, self.reads, self.protected, shares)
        if shares is None or not (whole := profile.whole(lengths)).any():
            return seconds
        as_at_1x = self.latency.seconds(Profile.full(self.layers), lengths, self.reads, self.protected)
        return np.where(whole, as_at_1x, seconds)

    def reach(self) -> float:
        """The largest possible speedup: by ``max_speedup``, the profile type and the quality floor."""
        return min(self.max_speedup, reach_of(self))

    def reaches(self, speedup: float) -> bool:
        """Whether a speedup is possible, within the tolerance of solving for it."""
        return speedup <= self.reach() * (1 + 1e-3)

    def profile(self, speedup: float) -> Profile:
        """Profile of a speedup.

        In FLOPs, lossless trimming alone may exceed a small speedup; then nothing else is eliminated.

        Raises
        ------
        ValueError
            if ``speedup`` is below 1, above ``max_speedup``, or out of reach of the profile type.
        """
        if not (isinstance(speedup, (int, float)) and math.isfinite(speedup) and speedup >= 1.0):
            raise ValueError(f"speedup={speedup}: expected a number from 1 to {self.max_speedup:g}")
        if speedup > self.max_speedup + 1e-9:
            raise ValueError(
                f"speedup={speedup:g} is beyond this dial, which goes to {self.max_speedup:g}: "
                f"ask for 1 to {self.max_speedup:g}, or calibrate again with max_speedup={math.ceil(speedup)}"
            )
        return solved(self, float(speedup))

    def drop_of(self, profile: Profile) -> MeasuredDrop | None:
        """What a profile is expected to lose on validation text; None where nothing was measured so far along the dial.

        By its FLOPs, between the profiles that were measured, and no less than at any smaller speedup.
        """
        return drop_at(self, profile)

    def within(self, max_drop: float, confident: bool = False) -> float:
        """The largest speedup, as the dial is marked, whose drop stays within ``max_drop`` points, in hundredths.

        Parameters
        ----------
        max_drop : in points of the metric: 0.75 allows an accuracy of 90% to fall to 89.25%
        confident : judge by the upper end of the 95% interval, not by the mean

        Raises
        ------
        ValueError
            if no drops were measured, or the dial loses more at 1x already.
        """
        return speedup_within(self, max_drop, confident)


def takes_whole_texts(shapes: Sequence[LayerShape], reads: str) -> bool:
    """Whether texts of a batch may differ in their level: in encoders, whose passes leave no cache behind."""
    return reads in (POOLED, ALL) and not any(shape.causal for shape in shapes)


# Devices differ, so a checkpoint keeps a latency model for each of them beside the dial.
omit(Dial, "latency")
