"""FLOPs of a model under an elimination profile, counted from the shapes of its own linear layers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from latadj.elimination.layer_structure import MOST
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Anchor, Profile
from latadj.utils.serialization import Bounds

# Of one linear layer's weights, far more than any model has.
Weights = Annotated[int, Bounds(0, 2**45)]

# Positions of a window, far more than any text has.
FARTHEST = 2**40
# Where the head reads: the pooled position alone, every position, or (a decoder behind an encoder) who survived.
READS = POOLED, ALL, SURVIVORS = "pooled", "all", "survivors"


@dataclass(frozen=True)
class LayerShape:
    """Weights of the linear layers of one transformer layer, biases left out.

    query, key_value, output, feed_forward : number of weights of each
    attention : heads * head_dim, the width of the two attention products; 0 in a layer without attention
    causal : whether a token attends to those before it only, which halves the products
    heads, neurons : that share these weights alike; 0 where nobody counted, as in files of earlier versions
    reach : positions that a token of a causal layer attends to, its own among them; 0: all before it
    """

    query: Weights
    key_value: Weights
    output: Weights
    feed_forward: Weights
    attention: Weights
    causal: bool = False
    heads: Annotated[int, Bounds(0, MOST)] = 0
    neurons: Annotated[int, Bounds(0, MOST)] = 0
    reach: Annotated[int, Bounds(0, FARTHEST)] = 0

    @property
    def attends(self) -> bool:
        """Whether the layer has attention; a pruned one may have none."""
        return self.attention > 0

    def narrowed(self, heads: int, neurons: int) -> "LayerShape":
        """The shape of the layer when it uses so many of its heads and neurons.

        Raises
        ------
        ValueError
            if it has fewer.
        """
        if heads > self.heads or neurons > self.neurons:
            raise ValueError(
                f"a level of {heads} heads and {neurons} neurons, in a layer of {self.heads} and {self.neurons}"
            )
        by_heads = {
            name: getattr(self, name) * heads // max(self.heads, 1)
            for name in ("query", "key_value", "output", "attention")
        }
        feed_forward = self.feed_forward * neurons // max(self.neurons, 1)
        return replace(self, **by_heads, feed_forward=feed_forward, heads=heads, neurons=neurons)


def whole_level(shapes: Sequence[LayerShape]) -> Level:
    """The level that uses all heads and neurons of layers.

    Raises
    ------
    ValueError
        if the shapes are of an earlier version, which did not count them.
    """
    if not any(shape.heads or shape.neurons for shape in shapes):
        raise ValueError("this dial does not know the heads and neurons of its layers: calibrate again")
    return Level(tuple(shape.heads for shape in shapes), tuple(shape.neurons for shape in shapes))


def shapes_at(shapes: Sequence[LayerShape], level: Level | None) -> tuple[LayerShape, ...]:
    """The shapes of layers at a level; None: whole.

    Raises
    ------
    ValueError
        if a layer has fewer heads or neurons than the level asks for.
    """
    if level is None:
        return tuple(shapes)
    return tuple(
        shape.narrowed(heads, neurons) for shape, heads, neurons in zip(shapes, level.heads, level.neurons, strict=True)
    )


def check_levels(shapes: Sequence[LayerShape], anchors: Sequence[Anchor]) -> None:
    """Refuse searched levels that a model does not have, or that are not nested along its dial.

    Raises
    ------
    ValueError
    """
    before: Level | None = None
    for anchor in anchors:
        if anchor.level is not None:
            shapes_at(shapes, anchor.level)
        if before is not None and (anchor.level is None or not before.contains(anchor.level)):
            raise ValueError(
                f"the level of this dial at {anchor.speedup:g}x is not contained in that of a smaller speedup: "
                "levels must be nested"
            )
        before = anchor.level


def linear_weights(shapes: Iterable[LayerShape]) -> int:
    """Weights of the linear layers of some transformer layers."""
    return sum(shape.query + shape.key_value + shape.output + shape.feed_forward for shape in shapes)


def width_of(shapes: Sequence[LayerShape], level: Level | None) -> float:
    """Share of the weights of all layers' linear layers that a level uses."""
    return linear_weights(shapes_at(shapes, level)) / max(linear_weights(shapes), 1)


def laid_out_weights(shapes: Sequence[LayerShape], levels: Iterable[Level]) -> int:
    """Weights of the linear layers where each layer is laid out whole, and once for each width of levels."""
    by_layer = zip(*(shapes, *(shapes_at(shapes, level) for level in levels)), strict=True)
    return sum(linear_weights(set(widths)) for widths in by_layer)


def schedule(profile: Profile, lengths: np.ndarray, reads: str, protected: np.ndarray | int = 0) -> np.ndarray:
    """Tokens in each layer: row 0 enters the model, row ``l`` leaves layer ``l``.

    Parameters
    ----------
    profile : how many tokens each layer keeps
    lengths : (sequences,) real tokens of each sequence, no padding
    reads : ``pooled`` trims the last layer to the one position that the head reads; the others do not
    protected : tokens that are never eliminated, of each sequence or of all alike: no layer keeps fewer

    Returns
    -------
    (layers + 1, sequences) integers, never increasing along the layers
    """
    lengths = np.asarray(lengths)
    counts = np.concatenate([lengths[None], np.maximum(profile.counts(lengths), np.minimum(protected, lengths))])
    if reads == POOLED:
        counts[-1] = np.minimum(lengths, 1)
    return counts


def layer_flops(
    shapes: Sequence[LayerShape],
    profile: Profile,
    lengths: np.ndarray,
    reads: str,
    protected: np.ndarray | int = 0,
) -> np.ndarray:
    """FLOPs of each layer and sequence under a profile: multiply-adds times two, without embeddings and head.

    The engine eliminates right after attention, so the output layer and the feed-forward block run on the
    survivors. A last layer trimmed to the pooled position computes one query only.

    Parameters
    ----------
    shapes : of the whole model, one entry a layer
    profile, lengths, reads, protected : as in :func:`schedule`

    Returns
    -------
    (layers, sequences) FLOPs as float64
    """
    lengths = np.asarray(lengths)
    if profile.level is not None and (whole := profile.whole(lengths)).any():
        protected = np.broadcast_to(protected, lengths.shape)
        products = np.empty((len(shapes), len(lengths)))
        full, others = Profile.full(len(shapes)), replace(profile, whole_length=0.0)
        for rows, own in ((whole, full), (~whole, others)):
            products[:, rows] = layer_flops(shapes, own, lengths[rows], reads, protected[rows])
        return products
    shapes = shapes_at(shapes, profile.level)
    profile = profile.held([shape.attends for shape in shapes])
    counts = schedule(profile, lengths, reads, protected).astype(np.float64)
    products = np.zeros((len(shapes), counts.shape[1]))
    for layer, shape in enumerate(shapes):
        n_in, n_out = counts[layer], counts[layer + 1]
        trimmed = reads == POOLED and layer == len(shapes) - 1
        queries = n_out if trimmed else n_in
        # A window of positions holds that share of the tokens that it is of the text.
        seen = n_in * np.minimum(shape.reach / np.maximum(counts[0], 1), 1.0) if shape.reach else n_in
        pairs = seen * (2 * n_in - seen + 1) / 2 if shape.causal and not trimmed else queries * seen
        # A restored token leaves with its attention update, so its output layer runs too.
        projected = n_in if reads == ALL else n_out
        products[layer] = queries * shape.query + n_in * shape.key_value + 2 * pairs * shape.attention
        products[layer] += projected * shape.output + n_out * shape.feed_forward
    return 2 * products


def flops(
    shapes: Sequence[LayerShape],
    profile: Profile,
    lengths: np.ndarray,
    reads: str,
    protected: np.ndarray | int = 0,
) -> np.ndarray:
    """FLOPs of each sequence through all layers, (sequences,) float64; see :func:`layer_flops`."""
    return layer_flops(shapes, profile, lengths, reads, protected).sum(axis=0)


def full_flops(shapes: Sequence[LayerShape], lengths: np.ndarray) -> np.ndarray:
    """FLOPs of each sequence through the plain model, as transformers runs it: (sequences,) float64."""
    return flops(shapes, Profile.full(len(shapes)), lengths, reads=ALL)


def mean_flops(shapes: Sequence[LayerShape], lengths: np.ndarray, reads: str) -> float:
    """FLOPs of the mean text where nothing is eliminated; parameters as in :func:`flops`."""
    return float(np.mean(flops(shapes, Profile.full(len(shapes)), lengths, reads)))


def flops_speedup(
    shapes: Sequence[LayerShape],
    profile: Profile,
    lengths: np.ndarray,
    reads: str,
    protected: np.ndarray | int = 0,
) -> float:
    """Total FLOPs of the plain model over total FLOPs under a profile, padding counted in neither."""
    return float(full_flops(shapes, lengths).sum() / flops(shapes, profile, lengths, reads, protected).sum())
