"""Profiles: how much of a model each layer uses, and the types of profiles that a dial can follow.

To add a profile type, write one function: ``@profile_type`` makes its name an option. Needs no torch.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from latadj.elimination.levels import Level
from latadj.utils.serialization import AT_LEAST_1

# Below this a layer keeps next to nothing; profiles that starve every layer alike are not worth solving for.
SMALLEST_RATIO = 0.01
# Of `short_length`, how much is spared in long sequences.
LEAST_SPARED = 0.25


@dataclass(frozen=True)
class Profile:
    """How much of a model each layer uses: how many of a sequence's tokens it keeps, and how wide it is.

    A layer keeps some tokens that it spares, and a share of the others.
    A share of few tokens leaves next to nothing to read, and saves next to no time. So all tokens are spared in a
    sequence of up to ``short_length``, ever fewer in longer ones, and a quarter of ``short_length`` from twice that
    length on.

    A narrow level reads texts of a few words no better than long ones, and they are the cheapest: those of up to
    ``whole_length`` tokens use the whole model and keep all their tokens, as at speedup 1.

    keep : keep ratio of each layer, ``1 >= k_1 >= ... >= k_L > 0``
    short_length : tokens; 0 spares none. Need not be whole, so that it may shrink along a dial without steps
    level : how many heads and neurons each layer uses; None: all that it has
    whole_length : tokens; 0: the level is that of all texts. Need not be whole either

    Raises
    ------
    ValueError
        if a ratio lies outside (0, 1], a later layer would keep more than an earlier one, ``short_length`` or
        ``whole_length`` is below 0, or the level is for another number of layers.
    """

    keep: tuple[float, ...]
    short_length: float = 0.0
    level: Level | None = None
    whole_length: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", tuple(float(ratio) for ratio in self.keep))
        if not 0.0 <= self.short_length < math.inf:
            raise ValueError(f"short_length={self.short_length}: expected a number of at least 0")
        if not 0.0 <= self.whole_length < math.inf:
            raise ValueError(f"whole_length={self.whole_length}: expected a number of at least 0")
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
        if self.level is not None and self.level.layers != len(self.keep):
            raise ValueError(f"a level of {self.level.layers} layers beside {len(self.keep)} keep ratios")

    @classmethod
    def full(cls, layers: int) -> "Profile":
        """The profile that uses the whole model, and eliminates nothing."""
        return cls((1.0,) * layers)

    @property
    def eliminates(self) -> bool:
        """Whether it keeps fewer tokens than there are."""
        return any(ratio < 1.0 for ratio in self.keep)

    @property
    def is_full(self) -> bool:
        """Whether it uses the whole model for every token."""
        return self.level is None and not self.eliminates

    @property
    def in_parts(self) -> bool:
        """Whether texts of one batch may differ in their level, so that they cannot be run together."""
        return self.level is not None and self.whole_length > 0

    def whole(self, lengths: np.ndarray) -> np.ndarray:
        """Which sequences of these lengths use the whole model: (sequences,) True where they do."""
        return np.asarray(lengths) <= self.whole_length

    def counts(self, lengths: np.ndarray) -> np.ndarray:
        """Tokens that each layer keeps of sequences: the spared ones and the layer's share of the others, rounded up.

        Parameters
        ----------
        lengths : (sequences,) real tokens of each sequence

        Returns
        -------
        (layers, sequences) integers, at least 1 and at most the length
        """
        least = LEAST_SPARED * self.short_length
        # Straight from all of them at `short_length` to the least at twice that.
        falling = self.short_length - (1 - LEAST_SPARED) * (lengths - self.short_length)
        spared = np.where(self.whole(lengths), lengths, np.minimum(np.maximum(falling, least), lengths))
        return rounded_up(spared + np.array(self.keep)[:, None] * (lengths - spared), lengths)

    def held(self, attending: Iterable[bool]) -> "Profile":
        """The profile where only some layers have attention to choose by: a layer without keeps what entered it.

        What a profile cuts there is cut by the next layer that has attention.
        """
        ratios, before = [], 1.0
        for ratio, has_attention in zip(self.keep, attending, strict=True):
            before = ratio if has_attention else before
            ratios.append(before)
        return replace(self, keep=tuple(ratios))


def rounded_up(counts: np.ndarray, lengths: np.ndarray, at_least: int = 1) -> np.ndarray:
    """Whole numbers of tokens, at least ``at_least`` and at most the length."""
    # A ratio's own rounding error keeps no token more.
    return np.minimum(np.maximum(np.ceil(counts - 1e-6).astype(np.int64), at_least), lengths)


@dataclass(frozen=True)
class Anchor:
    """A profile that a search found for one speedup; its fields and errors are those of :class:`Profile`."""

    speedup: Annotated[float, AT_LEAST_1]
    keep: tuple[float, ...]
    short_length: float = 0.0
    level: Level | None = None
    whole_length: float = 0.0

    def __post_init__(self) -> None:
        self.profile  # noqa: B018 refuses what no profile can be

    @property
    def profile(self) -> Profile:
        return Profile(self.keep, self.short_length, self.level, self.whole_length)


# (strength, layer ACC of each layer, searched profiles) -> (layers,) keep ratios; strength 0 keeps all, more strength
# keeps less in every layer
ProfileType = Callable[[float, Sequence[float], Sequence[Anchor]], np.ndarray]
# Every profile type by its function's name.
PROFILE_TYPES: dict[str, ProfileType] = {}


def profile_type(function: ProfileType) -> ProfileType:
    """Make a function selectable by its name."""
    PROFILE_TYPES[function.__name__] = function
    return function


@profile_type
def geometric(strength: float, layer_acc: Sequence[float], anchors: Sequence[Anchor]) -> np.ndarray:
    """Each layer keeps the same share of what enters it."""
    return np.exp(-strength * np.arange(1, len(layer_acc) + 1))


@profile_type
def flat(strength: float, layer_acc: Sequence[float], anchors: Sequence[Anchor]) -> np.ndarray:
    """The first layer eliminates, once; the others keep what it left."""
    return np.full(len(layer_acc), math.exp(-strength))


@profile_type
def acc(strength: float, layer_acc: Sequence[float], anchors: Sequence[Anchor]) -> np.ndarray:
    """Each layer is cut as far as its layer ACC allows: the running product of ``ACC ** strength``."""
    return np.exp(strength * np.cumsum(np.log(np.clip(layer_acc, 1e-6, 0.999))))


@profile_type
def searched(strength: float, layer_acc: Sequence[float], anchors: Sequence[Anchor]) -> np.ndarray:
    """Between the profiles that a search found; strength is the logarithm of their speedup."""
    # Log keep ratios are linear in log speedup for a geometric profile, so interpolating there bends least.
    knots = _knots(anchors)
    ratios = np.log(np.array([[1.0] * len(anchors[0].keep), *(anchor.keep for anchor in anchors)]))
    if strength <= knots[-1]:
        return np.exp([np.interp(strength, knots, column) for column in ratios.T])
    # Past the last anchor every layer keeps shrinking at one common rate.
    return np.exp(ratios[-1] - (strength - knots[-1]))


def searched_lengths(strength: float, anchors: Sequence[Anchor]) -> tuple[float, float]:
    """``short_length`` and ``whole_length`` between searched profiles, as :func:`searched` has the ratios."""
    knots = _knots(anchors)[1:]
    short, whole = (
        float(np.interp(strength, knots, lengths))
        for lengths in zip(*((anchor.short_length, anchor.whole_length) for anchor in anchors), strict=True)
    )
    return short * math.exp(min(0.0, knots[-1] - strength)), whole


def _knots(anchors: Sequence[Anchor]) -> np.ndarray:
    """Strengths of no elimination and of the anchors."""
    return np.array([0.0, *(math.log(anchor.speedup) for anchor in anchors)])


def in_steps(keep: np.ndarray, every: int) -> np.ndarray:
    """(layers,) keep ratios that fall in every so many layers only, each time to where the last of them would be."""
    layers = len(keep)
    last = np.minimum((np.arange(layers) // every + 1) * every, layers) - 1
    return keep[last]
