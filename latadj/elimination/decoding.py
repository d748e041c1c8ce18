"""The masks of a decoding step over a cache that holds survivors: they know where those stood."""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from latadj.elimination.cache import ShortLayer, level_of
from latadj.elimination.topk_setting import TopKAttention


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

    def mask(self, index: int, plain: Tensor | None, reach: int | None = None) -> Tensor | None:
        """The mask of a layer, as its attention wants it; ``plain`` where the layer holds every column.

        Parameters
        ----------
        reach : positions that a token sees in this layer; None: all before it
        """
        layer = self._cache.layers[index]
        if not isinstance(layer, ShortLayer):
            return plain
        layer.expected = True
        alike = layer.real is None and reach is None
        key = (layer.get_seq_length(), layer.columns, None if alike else index)
        if key not in self._made:
            self._made[key] = self._make(index, reach)
        return self._made[key]

    def visible(self, index: int, reach: int | None = None) -> Tensor | None:
        """(batch or 1, steps, keys) True on the keys of a layer that each new token may see; None if on all.

        The keys are those that the layer holds when the new ones have joined them, but have not yet.

        Parameters
        ----------
        reach : as in :meth:`mask`
        """
        layer = self._cache.layers[index]
        if isinstance(layer, ShortLayer):
            layer.expected = True
        columns, real = (layer.columns, layer.real) if isinstance(layer, ShortLayer) else (0, None)
        new = None if self._mask is None else self._mask[:, columns:]
        if new is not None and bool(new.all()):
            new = None
        if real is None and new is None and self._steps == 1 and reach is None:
            return None
        held, device = layer.get_seq_length(), layer.device
        batch = 1 if real is None and new is None else len(real if real is not None else new)  # type: ignore[arg-type]
        visible = torch.ones(batch, self._steps, held + self._steps, dtype=torch.bool, device=device)
        visible[:, :, held:] = torch.ones(self._steps, self._steps, dtype=torch.bool, device=device).tril()
        if real is not None:
            visible[:, :, : real.shape[1]] &= real[:, None]
        if new is not None:
            visible[:, :, -new.shape[1] :] &= new[:, None]
        if reach is not None:
            positions = _positions(layer, held + self._steps)
            visible = visible & (positions[:, held:, None] - positions[:, None] < reach)
        return visible

    def _make(self, index: int, reach: int | None) -> Tensor | None:
        visible = self.visible(index, reach)
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


def _positions(layer: Any, count: int) -> Tensor:
    """(batch or 1, count) columns of what a layer holds, and of what comes after it."""
    first = layer.positions if isinstance(layer, ShortLayer) else None
    if first is None:
        return torch.arange(count, device=layer.device)[None]
    later = layer.columns + torch.arange(count - first.shape[1], device=layer.device)
    return torch.cat([first, later.expand(len(first), -1)], dim=1)
