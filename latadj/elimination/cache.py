"""Key/value caches that hold survivors: what a decoding step needs to know of its prefill lives in the cache."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from latadj.elimination.architectures.base import split_heads
from latadj.elimination.architectures.pruned_forward import no_states
from latadj.elimination.levels import Level
from latadj.elimination.survivors import Survivors

_LEVEL = "_latadj_level"
_START = "a cache goes on with the model and the texts that it was filled by: start the conversation anew"


class ShortLayer(DynamicLayer):
    """A cache layer that holds the survivors of a prompt, and after them all that is decoded.

    Parameters
    ----------
    columns : columns of the prompt before elimination, padding included
    real : (batch, survivors) True on real ones, where sequences differ in number; None if all are real
    after : of the columns, how many at the end were never to be eliminated
    positions : (batch or 1, survivors) columns in which they stood, rising, where a window counts them; None: none does

    Attributes
    ----------
    decoded : tokens that came after the prompt
    expected : whether a pass with elimination attached is about to add to it; transformers' own would mask the columns
        of the prompt that are gone
    """

    def __init__(self, columns: int, real: Tensor | None, after: int = 0, positions: Tensor | None = None) -> None:
        super().__init__()
        self.columns, self.real, self.after, self.positions = columns, real, after, positions
        self.decoded = 0
        self.expected = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.expected:
            raise ValueError(
                "past_key_values hold survivors of an eliminated prompt, and this model has no elimination attached: "
                f"{_START}, or attach the model again"
            )
        if self.is_initialized:
            self.decoded += key_states.shape[-2]
        self.expected = False
        return super().update(key_states, value_states, *args, **kwargs)

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens, given as a negative number: what was decoded, not what was chosen from.

        The last prompt token may go too, as assisted generation reads it twice: every layer keeps it, and decoding it
        gives what the prefill gave.
        """
        forgotten = max(-tokens_to_remove, 0)
        from_prompt = max(forgotten - self.decoded, 0)
        if from_prompt > (self.after + 1 if self.real is None else 0):
            raise ValueError(
                f"a cache that holds survivors cannot forget {forgotten} tokens: {self.decoded} were decoded, and who "
                "of the prompt was eliminated depended on all of it"
            )
        super().crop(tokens_to_remove)
        self.decoded -= forgotten - from_prompt
        self.columns, self.after = self.columns - from_prompt, self.after - from_prompt
        if self.positions is not None:
            self.positions = self.positions[:, : self.positions.shape[1] - from_prompt]

    def reset(self) -> None:
        raise ValueError("a cache that holds survivors belongs to one prompt: make a new one instead of resetting it")

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)
        self._each(lambda real: real.index_select(0, beam_idx.to(real.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self._each(lambda real: real.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._each(lambda real: real[indices])

    def _each(self, change: Any) -> None:
        if self.real is not None:
            self.real = change(self.real)
        if self.positions is not None and len(self.positions) > 1:
            self.positions = change(self.positions)


def note_level(cache: Cache, level: Level) -> None:
    """Note on a cache at what level it is filled: its heads belong to it, so that decoding goes on there."""
    cache.__dict__[_LEVEL] = level


def level_of(cache: Cache) -> Level | None:
    """The level at which a cache was filled; None: by the whole model."""
    level: Level | None = cache.__dict__.get(_LEVEL)
    return level


def is_filled(cache: Any) -> bool:
    """Whether something was cached before, so that a pass is a decoding step."""
    return isinstance(cache, Cache) and int(cache.get_seq_length()) > 0


def is_short(cache: Cache) -> bool:
    """Whether a cache holds survivors of an eliminated prompt."""
    return any(isinstance(layer, ShortLayer) for layer in cache.layers)


def can_shorten(cache: Any) -> bool:
    """Whether survivors alone can be kept in a cache: its layers grow, and nothing else reads their length."""
    return cache is None or (type(cache) is DynamicCache and not cache.offloading and all(map(_can_grow, cache.layers)))


def _can_grow(layer: Any) -> bool:
    # One that forgets what has left its window is replaced while nothing is in it.
    return type(layer) in (DynamicLayer, ShortLayer) or (
        type(layer) is DynamicSlidingWindowLayer and not layer.get_seq_length()
    )


def keep_every_column(cache: Cache) -> None:
    """Let the layers of an empty cache grow that would forget what has left their window.

    It would be counted in what they hold, and that may be survivors.
    """
    cache.layers = [DynamicLayer() if type(layer) is DynamicSlidingWindowLayer else layer for layer in cache.layers]


def require_same(cache: Cache, states: Sequence[tuple[int, int]], batch: int) -> None:
    """Refuse to go on with a cache that another model or batch has filled, or this model before it was pruned.

    Parameters
    ----------
    states : (key heads, size of a head) that each layer of the model adds to a cache
    batch : texts of the pass

    Raises
    ------
    ValueError
        naming both.
    """
    held = [_held(layer) for layer in cache.layers]
    texts = next((shape[0] for shape in held if shape), batch)
    if texts != batch or (is_short(cache) and len(held) < len(states)):
        raise ValueError(
            f"past_key_values of {len(held)} layers and {texts} texts, for a model of {len(states)} layers and "
            f"{batch} texts: {_START}"
        )
    for number, (shape, (heads, size)) in enumerate(zip(held, states, strict=False), start=1):
        if shape and shape[1:] != (heads, size):
            raise ValueError(
                f"past_key_values of {shape[1]} heads of size {shape[2]} in layer {number}, where this model has "
                f"{heads} of size {size}: {_START}"
            )


def _held(layer: Any) -> tuple[int, int, int] | None:
    """Texts, heads and size of a head of what a layer of a growing cache holds; None if it holds nothing."""
    keys = layer.keys if isinstance(layer, DynamicLayer) else None
    return (keys.shape[0], keys.shape[1], keys.shape[3]) if isinstance(keys, Tensor) and keys.ndim == 4 else None


def require_shortenable(cache: Any, topk: bool = False) -> None:
    """Refuse caches of a fixed length, offloaded or quantised ones; one that holds survivors passes.

    Parameters
    ----------
    topk : whether some layers have top-k attention, so that speedup 1 is no way out

    Raises
    ------
    ValueError
        naming the cache.
    """
    if not can_shorten(cache):
        done, instead = ("read by top-k attention", "") if topk else ("shortened by elimination", ", or speedup=1")
        kinds = sorted({type(layer).__name__ for layer in getattr(cache, "layers", ())})
        held = f" of {', '.join(kinds)}" if kinds else ""
        offloaded = "offloaded " if getattr(cache, "offloading", False) else ""
        raise ValueError(
            f"{offloaded}{type(cache).__name__}{held} cannot be {done}: take transformers' DynamicCache (the default "
            f"of `generate`){instead}"
        )


def store(
    cache: Cache,
    index: int,
    key: Tensor,
    value: Tensor,
    columns: int,
    real: Tensor | None,
    after: int = 0,
    positions: Tensor | None = None,
) -> None:
    """Put a layer's keys and values into an empty cache.

    Parameters
    ----------
    key, value : (batch, key heads, survivors, head_dim)
    columns, real, after, positions : as in :class:`ShortLayer`; a layer that holds every column stays transformers' own
    """
    while len(cache.layers) <= index:
        cache.layers.append(DynamicLayer())
    if real is not None or key.shape[2] < columns:
        cache.layers[index] = ShortLayer(columns, real, after, positions)
    cache.update(key, value, index)


def cache_states(
    past: Any, index: int, entering: Survivors, key: Tensor, value: Tensor, after: int, reach: int | None
) -> None:
    """Keep a layer's keys and values; those of the first layer at every column, so that positions are counted right.

    Parameters
    ----------
    reach : positions that a query of the layer sees, its own among them; None: all before it, or everyone stays
    """
    if index > 0 and reach is not None:
        _store_near(past, index, entering, key, value, after, reach)
        return
    if index > 0 or entering.origin is None:
        store(past, index, key, value, entering.length, entering.real, after)
        return
    columns = (at_positions(entering.rows(states.transpose(1, 2).flatten(2)), entering) for states in (key, value))
    key, value = (split_heads(states, key.shape[3]) for states in columns)
    store(past, index, key, value, entering.length, None)


def _store_near(past: Any, index: int, entering: Survivors, key: Tensor, value: Tensor, after: int, reach: int) -> None:
    """Keep the last of each sequence, among whom are all that tokens to come may see."""
    positions, real, near = entering.positions, entering.real, reach + after
    if entering.width > near:
        # So far back sees the next one when `crop` has forgotten what follows the prompt, and its last token.
        columns = torch.from_numpy(entering.counts).to(key.device)[:, None] + torch.arange(-near, 0, device=key.device)
        real = columns >= 0 if int(entering.counts.min()) < near else None
        columns = columns.clamp_(min=0)
        key, value = (
            states.gather(2, columns[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
            for states in (key, value)
        )
        positions = positions.expand(len(columns), -1).gather(1, columns)
    store(past, index, key, value, entering.length, real, after, positions)


def cache_nobody(past: Any, index: int, entering: Survivors, like: Tensor, after: int) -> None:
    """Keep what stands for the keys and values of a layer whose attention block was removed.

    Parameters
    ----------
    like : of the states' type and device
    """
    columns = entering.length if index == 0 else entering.width
    nobody = no_states(like.new_empty(entering.batch, 0), columns)
    store(past, index, nobody, nobody, entering.length, None if index == 0 else entering.real, after)


def at_positions(rows: Tensor, alive: Survivors) -> Tensor:
    """(rows, features) to (batch, n_0, features), zero where nobody is alive."""
    if alive.origin is None:
        return alive.frame(rows)
    everyone = rows.new_zeros(alive.batch * alive.length, rows.shape[-1])
    return everyone.index_copy(0, alive.origin, rows).view(alive.batch, alive.length, -1)
