"""Profiles: how many tokens each layer keeps, and the types of profiles that a dial can follow.

To add a profile type, write one function: ``@profile_type`` makes its name an option. Needs no torch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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
    """A profile that a search found for one speedup: its keep ratios, with the errors of :class:`Profile`."""

    speedup: float
    keep: tuple[float, ...]

    def __post_init__(self) -> None:
        Profile(self.keep)


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
    knots = np.array([0.0, *(math.log(anchor.speedup) for anchor in anchors)])
    ratios = np.log(np.array([[1.0] * len(anchors[0].keep), *(anchor.keep for anchor in anchors)]))
    if strength <= knots[-1]:
        return np.exp([np.interp(strength, knots, column) for column in ratios.T])
    # Past the last anchor every layer keeps shrinking at one common rate.
    return np.exp(ratios[-1] - (strength - knots[-1]))


def in_steps(keep: np.ndarray, every: int) -> np.ndarray:
    """(layers,) keep ratios that fall in every so many layers only, each time to where the last of them would be."""
    layers = len(keep)
    last = np.minimum((np.arange(layers) // every + 1) * every, layers) - 1
    return keep[last]
