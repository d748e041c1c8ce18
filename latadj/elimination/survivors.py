"""Which word-vectors are alive in one forward pass, layer by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.families import Family
from latadj.elimination.score import Score, received_attention

# Called as observer(layer, scores, mask, lengths) for every layer of an observed pass.
Observer = Callable[[int, Tensor, Tensor | None, Tensor], None]


@dataclass(frozen=True)
class Survivors:
    """The word-vectors that enter a layer.

    positions : (batch, n) where each stood when the sequence entered the model; None = nobody was eliminated
    mask : (batch, n) True on real word-vectors, fillers and padding False; None = all real
    """

    positions: Tensor | None
    mask: Tensor | None

    def attention_mask(self, queries: int) -> Tensor | None:
        """(batch, 1, queries, n) boolean mask for attention; None if there is nothing to mask."""
        if self.mask is None:
            return None
        return self.mask[:, None, None, :].expand(-1, 1, queries, -1)

    def first(self, hidden: Tensor) -> Tensor:
        """First real word-vector of each sequence: (batch, n, width) to (batch, 1, width)."""
        if self.mask is None or self.positions is not None:  # survivors are packed to the left
            return hidden[:, :1]
        return gather(hidden, self.mask.int().argmax(dim=1, keepdim=True))


class Call:
    """State of one forward pass: it travels with the call's arguments and is never kept on the model.

    Gradient checkpointing runs a layer again from the same arguments, and threads have calls of their own, so
    neither can meet another pass.
    """

    def __init__(
        self,
        family: Family,
        keep: Sequence[float],
        mask: Tensor | None,
        shape: tuple[int, int],
        reads: str,
        score: Score,
        observer: Observer | None = None,
    ) -> None:
        batch, length = shape
        self.family = family
        self.reads = reads
        self.observer = observer
        self._score = score
        self._scores: dict[int, Tensor] = {}
        self._visible = torch.full((batch,), length) if mask is None else mask.sum(dim=1)
        # The one moment at which the host waits for the device.
        lengths = np.asarray(self._visible.tolist(), dtype=np.int64)
        if mask is not None and int(lengths.min(initial=length)) == length:
            mask = None
        self._counts = schedule(keep, lengths, reads)
        self._layers = len(keep)
        self.entering = {0: Survivors(None, mask)}

    def trims(self, layer: int) -> bool:
        """Whether only the pooled position leaves this layer, so that it alone needs computing."""
        # An observer wants every query's attention, so there the pooled position is chosen like any survivor.
        return self.reads == POOLED and layer == self._layers - 1 and self.observer is None

    def eliminates(self, layer: int) -> bool:
        return not self.trims(layer) and bool((self._counts[layer + 1] < self._counts[layer]).any())

    def needs_scores(self, layer: int) -> bool:
        return self.observer is not None or self.eliminates(layer)

    @torch.no_grad()
    def receive(self, layer: int, probs: Tensor, values: Tensor) -> None:
        """Score the word-vectors of a layer from its attention.

        Parameters
        ----------
        probs : (batch, heads, queries, keys)
        values : (batch, heads, keys, head_dim)
        """
        entering = self.entering[layer]
        batch, _, keys, _ = values.shape
        count = torch.as_tensor(self._counts[layer], device=values.device)
        mask = entering.mask
        visible = count[:, None].expand(batch, keys) if mask is None else mask * count[:, None]
        positions = entering.positions
        if positions is None:
            positions = torch.arange(keys, device=values.device).expand(batch, keys)
        scores = self._score(received_attention(probs, mask), values, visible, positions)
        self._scores[layer] = scores
        if self.observer is not None:
            self.observer(layer, scores, mask, count)

    def choose(self, layer: int) -> tuple[Survivors, Tensor]:
        """Who leaves a layer that eliminates.

        Returns
        -------
        survivors : those that enter the next layer, packed to the left in their original order
        index : (batch, n') where each stands among those that entered this layer; fillers point at eliminated ones
        """
        scores, entering, counts = self._scores.pop(layer), self.entering[layer], self._counts[layer + 1]
        keys = scores.shape[1]
        ranked = scores.clone()
        if entering.mask is not None:
            ranked.masked_fill_(~entering.mask, -1.0)
        pooled = 0 if entering.mask is None else entering.mask.int().argmax(dim=1)
        ranked[torch.arange(len(ranked), device=ranked.device), pooled] = torch.inf
        widest = int(counts.max())
        index = ranked.topk(widest, dim=1).indices
        ragged = int(counts.min()) < widest
        if ragged:
            filler = torch.arange(widest, device=index.device) >= torch.as_tensor(counts, device=index.device)[:, None]
            index = (index + filler * keys).sort(dim=1).values
            mask, index = index < keys, index % keys
        else:
            mask, index = None, index.sort(dim=1).values
        positions = index if entering.positions is None else entering.positions.gather(1, index)
        return Survivors(positions, mask), index


def gather(hidden: Tensor, index: Tensor) -> Tensor:
    """Word-vectors at ``index``: (batch, n, width) and (batch, m) to (batch, m, width)."""
    batch, length, width = hidden.shape
    # Whole rows are copied; torch.gather would look up every number by an index of its own.
    rows = index + torch.arange(0, batch * length, length, device=index.device)[:, None]
    return hidden.reshape(batch * length, width).index_select(0, rows.flatten()).view(batch, -1, width)


def put_back(hidden: Tensor, survivors: Survivors, new: Tensor) -> Tensor:
    """``hidden`` with the survivors replaced by ``new``; everyone else keeps the state they have.

    Parameters
    ----------
    hidden : (batch, n_0, width)
    survivors : positions (batch, n)
    new : (batch, n, width)
    """
    if survivors.positions is None:
        return new
    if survivors.mask is not None:  # a filler writes back what is there
        new = torch.where(survivors.mask[:, :, None], new, gather(hidden, survivors.positions))
    index = survivors.positions[:, :, None].expand(-1, -1, hidden.shape[-1])
    return hidden.scatter(1, index, new.to(hidden.dtype))
