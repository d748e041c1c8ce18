"""Key/value caches that hold survivors: what a decoding step needs to know of its prefill lives in the cache."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from latadj.elimination.architectures.base import split_heads
from latadj.elimination.architectures.pruned_forward import no_states
from latadj.elimination.levels import Level
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk_setting import TopKAttention

_LEVEL = "_latadj_level"
_START = "a cache goes on with the model and the texts that it was filled by: start the conversation anew"


class ShortLayer(DynamicLayer):
    """A cache layer that holds the survivors of a prompt, and after them all that is decoded.

    Parameters
    ----------
    columns : columns of the prompt before elimination, padding included
    real : (batch, survivors) True on real ones, where sequences differ in number; None if all are real
    after : of the columns, how many at the end were never to be eliminated

    Attributes
    ----------
    decoded : tokens that came after the prompt
    expected : whether a pass with elimination attached is about to add to it; transformers' own would mask the columns
        of the prompt that are gone
    """

    def __init__(self, columns: int, real: Tensor | None, after: int = 0) -> None:
        super().__init__()
        self.columns, self.real, self.after = columns, real, after
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
    return cache is None or (
        type(cache) is DynamicCache
        and not cache.offloading
        and all(type(layer) in (DynamicLayer, ShortLayer) for layer in cache.layers)
    )


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
    cache: Cache, index: int, key: Tensor, value: Tensor, columns: int, real: Tensor | None, after: int = 0
) -> None:
    """Put a layer's keys and values into an empty cache.

    Parameters
    ----------
    key, value : (batch, key heads, survivors, head_dim)
    columns, real, after : as in :class:`ShortLayer`; a layer that holds every column stays transformers' own
    """
    while len(cache.layers) <= index:
        cache.layers.append(DynamicLayer())
    if real is not None or key.shape[2] < columns:
        cache.layers[index] = ShortLayer(columns, real, after)
    cache.update(key, value, index)


class Decoding:
    """The masks of one decoding step over a shortened cache.

    Parameters
    ----------
    mask : (batch, prompt and all that was decoded) True on real tokens; None if all are
    steps : tokens that are decoded in this pass
    implementation : transformers' attention implementation
    topk : to how many keys the queries of each layer attend; None: to all in every layer
    """

    def __init__(
        self,
        cache: Cache,
        mask: Tensor | None,
        steps: int,
        implementation: str,
        dtype: torch.dtype,
        topk: TopKAttention | None = None,
    ) -> None:
        self._cache, self._mask, self._steps = cache, mask, steps
        self.level = level_of(cache)
        self.topk = topk or TopKAttention.full(len(cache.layers))
        self._implementation, self._dtype = implementation, dtype
        self._made: dict[Any, Tensor | None] = {}

    def mask(self, index: int, plain: Tensor | None) -> Tensor | None:
        """The mask of a layer, as its attention wants it; ``plain`` where the layer holds every column."""
        layer = self._cache.layers[index]
        if not isinstance(layer, ShortLayer):
            return plain
        layer.expected = True
        key = (layer.get_seq_length(), layer.columns, None if layer.real is None else index)
        if key not in self._made:
            self._made[key] = self._make(index)
        return self._made[key]

    def visible(self, index: int) -> Tensor | None:
        """(batch or 1, steps, keys) True on the keys of a layer that each new token may see; None if on all.

        The keys are those that the layer holds when the new ones have joined them, but have not yet.
        """
        layer = self._cache.layers[index]
        if isinstance(layer, ShortLayer):
            layer.expected = True
        columns, real = (layer.columns, layer.real) if isinstance(layer, ShortLayer) else (0, None)
        new = None if self._mask is None else self._mask[:, columns:]
        if new is not None and bool(new.all()):
            new = None
        if real is None and new is None and self._steps == 1:
            return None
        held, device = layer.get_seq_length(), layer.device
        batch = 1 if real is None and new is None else len(real if real is not None else new)  # type: ignore[arg-type]
        visible = torch.ones(batch, self._steps, held + self._steps, dtype=torch.bool, device=device)
        visible[:, :, held:] = torch.ones(self._steps, self._steps, dtype=torch.bool, device=device).tril()
        if real is not None:
            visible[:, :, : real.shape[1]] &= real[:, None]
        if new is not None:
            visible[:, :, -new.shape[1] :] &= new[:, None]
        return visible

    def _make(self, index: int) -> Tensor | None:
        visible = self.visible(index)
        if visible is None:
            return None
        mask = visible[:, None]
        if self._implementation == "sdpa":
            return mask
        if self._implementation == "eager":
            return torch.zeros(mask.shape, dtype=self._dtype, device=mask.device).masked_fill_(
                ~mask, torch.finfo(self._dtype).min
            )
        raise ValueError(
            f"attn_implementation={self._implementation}: decoding after elimination needs a mask, which sdpa and "
            "eager take: load the model with attn_implementation='sdpa'"
        )


def cache_states(past: Any, index: int, entering: Survivors, key: Tensor, value: Tensor, after: int) -> None:
    """Keep a layer's keys and values; those of the first layer at every column, so that positions are counted right."""
    if index > 0 or entering.origin is None:
        store(past, index, key, value, entering.length, entering.real, after)
        return
    columns = (at_positions(entering.rows(states.transpose(1, 2).flatten(2)), entering) for states in (key, value))
    key, value = (split_heads(states, key.shape[3]) for states in columns)
    store(past, index, key, value, entering.length, None)


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
