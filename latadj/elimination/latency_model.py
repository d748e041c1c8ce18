"""How long one device takes for a pass, from how many tokens enter and leave each layer.

A layer's time is a sum of what its parts see: the linear layers and the attention of those that enter, the choice among
them where some are eliminated, and the output map and the feed-forward block of those that leave. Each part is a
piecewise linear function that never falls. Needs no torch, so that a dial can be read without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from latadj.elimination.cost import POOLED, LayerShape, schedule, shapes_at
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.utils.serialization import Bounds, Entries, NotNegative

# Far more than was ever measured.
MOST_KNOTS, LARGEST_BATCH, LONGEST = 2**12, 2**24, 2**30
Seconds = Annotated[float, Bounds(0, 1e9)]
Length = Annotated[int, Bounds(1, LONGEST)]
# All of a layer's linear layers, (entering, leaving).
WHOLE = (1.0, 1.0)


@dataclass(frozen=True)
class Ramp:
    """A function that starts at ``base`` and never falls: straight lines between knots, going on after the last.

    knots : rising token counts, at least two
    rises : by how much it rises from each knot to the next, seconds

    Raises
    ------
    ValueError
        if the knots do not rise, or the function would fall.
    """

    base: Seconds
    knots: Annotated[tuple[Annotated[float, Bounds(0, LONGEST)], ...], Entries(MOST_KNOTS, 2)]
    rises: Annotated[tuple[Seconds, ...], Entries(MOST_KNOTS, 1)]

    def __post_init__(self) -> None:
        if len(self.knots) < 2 or len(self.rises) != len(self.knots) - 1:
            raise ValueError(f"a ramp with {len(self.knots)} knots and {len(self.rises)} rises between them")
        if not (np.isfinite([self.base, *self.knots, *self.rises]).all() and min(np.diff(self.knots)) > 0):
            raise ValueError(f"a ramp whose knots {self.knots} do not rise, or with numbers that are not finite")
        if min(self.base, *self.rises) < 0:
            raise ValueError(f"a ramp that falls: it starts at {self.base} and rises by {self.rises}")

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        heights = self.base + np.concatenate([[0.0], np.cumsum(self.rises)])
        knots = np.asarray(self.knots)
        slope = self.rises[-1] / (knots[-1] - knots[-2])
        beyond = np.clip(counts - knots[-1], 0, None) * slope
        return np.interp(counts, knots, heights) + beyond

    def at(self, counts: np.ndarray, share: float) -> np.ndarray:
        """What it comes to where only a share of the work is left: calls cost what they cost, the rest less."""
        return self.base + share * (self(counts) - self.base) if share else np.zeros(np.shape(counts))


def mixed(first: Ramp, second: Ramp, share: float) -> Ramp:
    """The ramp that lies between two everywhere, at this share of the way from the first to the second."""
    knots = np.unique([*first.knots, *second.knots])
    heights = (1 - share) * first(knots) + share * second(knots)
    # Rounding must not let it fall.
    rises = np.clip(np.diff(heights), 0.0, None)
    return Ramp(float(heights[0]), tuple(map(float, knots)), tuple(map(float, rises)))


def level_shares(shapes: Sequence[LayerShape], level: Level | None) -> list[tuple[float, float]] | None:
    """What is left of each layer's linear layers at a level, (entering, leaving); None where all is."""
    if level is None:
        return None
    shares = []
    for whole, shape in zip(shapes, shapes_at(shapes, level), strict=True):
        entering = (shape.query + shape.key_value) / max(whole.query + whole.key_value, 1)
        leaving = (shape.output + shape.feed_forward) / max(whole.output + whole.feed_forward, 1)
        shares.append((entering, leaving))
    return shares


def scales_of(shapes: Sequence[LayerShape]) -> tuple[tuple[float, float], ...]:
    """How large each layer's linear layers are beside the largest layer's, as :class:`LatencyModel` takes them."""
    sizes = np.array([(shape.query + shape.key_value, shape.output + shape.feed_forward) for shape in shapes], float)
    shares = sizes / np.maximum(sizes.max(axis=0), 1)
    return () if (shares == 1).all() else tuple((float(enters), float(leaves)) for enters, leaves in shares)


@dataclass(frozen=True)
class LatencyModel:
    """Seconds of a pass over a batch of ``batch`` sequences of one length, on the device it was measured on.

    entering, choosing, leaving : one layer's parts, by tokens of a sequence
    last : a last layer trimmed to the pooled position, by tokens that enter it
    outside : embeddings, head and calls, by the sequence's length
    error : median relative error on passes that were not used for the fit
    scales : of a pruned model (entering, leaving) for each layer, the size of its linear layers as a share of the
        largest layer's; empty where all layers are alike
    lengths : least and largest of the lengths that it was measured for; None: not noted
    """

    batch: Annotated[int, Bounds(1, LARGEST_BATCH)]
    entering: Ramp
    choosing: Ramp
    leaving: Ramp
    last: Ramp
    outside: Ramp
    error: NotNegative = 0.0
    scales: tuple[tuple[NotNegative, NotNegative], ...] = ()
    lengths: tuple[Length, Length] | None = None

    def __post_init__(self) -> None:
        if self.lengths is not None and self.lengths[0] > self.lengths[1]:
            raise ValueError(f"the least of its lengths, {self.lengths[0]}, is above the largest, {self.lengths[1]}")

    def beyond(self, lengths: Sequence[int]) -> float:
        """The factor by which lengths lie outside those that it was measured for, 1 if none does."""
        if self.lengths is None:
            return 1.0
        least, largest = self.lengths
        return max(least / min(lengths), max(lengths) / largest, 1.0)

    def towards(self, other: "LatencyModel", batch: int) -> "LatencyModel":
        """The model of a batch size between this one's and another's: seconds go in a straight line with the size.

        Parameters
        ----------
        other : with the same ``scales``
        """
        share = (batch - self.batch) / (other.batch - self.batch)
        return replace(
            self,
            batch=batch,
            entering=mixed(self.entering, other.entering, share),
            choosing=mixed(self.choosing, other.choosing, share),
            leaving=mixed(self.leaving, other.leaving, share),
            last=mixed(self.last, other.last, share),
            outside=mixed(self.outside, other.outside, share),
            error=max(self.error, other.error),
        )

    def seconds(
        self,
        profile: Profile,
        lengths: np.ndarray,
        reads: str,
        protected: np.ndarray | int = 0,
        shares: Sequence[tuple[float, float]] | None = None,
    ) -> np.ndarray:
        """Seconds of a batch of each length: (sequences,).

        Parameters
        ----------
        profile, lengths, reads, protected : as in :func:`latadj.elimination.cost.schedule`
        shares : of each layer's linear layers, as :func:`level_shares` gives them; None: the whole model
        """
        counts = schedule(profile, np.asarray(lengths), reads, protected)
        total = self.outside(counts[0])
        for layer in range(len(profile.keep)):
            total = total + self.layer_seconds(counts, layer, reads, shares[layer] if shares else WHOLE)
        return total

    def layer_seconds(
        self, counts: np.ndarray, layer: int, reads: str, share: tuple[float, float] = WHOLE
    ) -> np.ndarray:
        """Seconds of one layer for a schedule of (layers + 1, sequences) counts."""
        n_in, n_out = counts[layer], counts[layer + 1]
        if share == (0.0, 0.0):
            return np.zeros(n_in.shape)
        if reads == POOLED and layer == len(counts) - 2:
            # Of a trimmed layer, keys and values of all that enter are nearly everything.
            return self.last.at(n_in, share[0])
        enters, leaves = self.scales[layer] if self.scales else WHOLE
        chosen = np.where(n_out < n_in, self.choosing(n_in), 0.0)
        entering = enters * self.entering.at(n_in, share[0])
        return entering + chosen + leaves * self.leaving.at(n_out, share[1])
