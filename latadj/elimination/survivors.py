"""Which word-vectors are alive in one forward pass, layer by layer."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.score import Score, shares

# Called as observer(layer, scores, real, lengths) for every layer of an observed pass.
Observer = Callable[[int, Tensor, Tensor | None, Tensor], None]


class Survivors:
    """The word-vectors that enter a layer: rows of a matrix, sequence after sequence, in their original order.

    No row is padding, so linear maps never compute any. Attention alone needs a frame of one width; where all
    sequences are of one length that frame is a view.

    Parameters
    ----------
    counts : (batch,) word-vectors of each sequence, on the host
    origin : (rows,) where each stood in the flattened (batch * n_0) input; None = everyone, and no padding was there
    device : where the rows are
    """

    def __init__(self, counts: np.ndarray, origin: Tensor | None, device: torch.device) -> None:
        self.counts, self.origin, self.device = counts, origin, device
        self.batch, self.width = len(counts), int(counts.max(initial=0))
        self.ragged = int(counts.min(initial=self.width)) < self.width

    @cached_property
    def starts(self) -> Tensor:
        """(batch,) row of each sequence's first word-vector."""
        if not self.ragged:
            return torch.arange(0, self.batch * self.width, max(self.width, 1), device=self.device)
        return self._tensor(np.concatenate([[0], np.cumsum(self.counts)[:-1]]))

    @cached_property
    def slots(self) -> Tensor:
        """(rows,) where each row stands in the flattened frame."""
        return self._tensor(np.flatnonzero(self._real))

    @cached_property
    def real(self) -> Tensor | None:
        """(batch, width) True on word-vectors, False on fillers; None where the frame has no fillers."""
        return torch.from_numpy(self._real).to(self.device) if self.ragged else None

    def frame(self, rows: Tensor) -> Tensor:
        """(rows, features) to (batch, width, features); fillers repeat some row, so that they are finite."""
        if not self.ragged:
            return rows.reshape(self.batch, self.width, rows.shape[-1])
        return rows.index_select(0, self._sources).view(self.batch, self.width, rows.shape[-1])

    def rows(self, frame: Tensor) -> Tensor:
        """Inverse of :meth:`frame`."""
        flat = frame.flatten(0, 1)
        return flat.index_select(0, self.slots) if self.ragged else flat

    def first(self, rows: Tensor) -> Tensor:
        """First word-vector of each sequence: (rows, features) to (batch, features)."""
        return self.frame(rows)[:, 0] if not self.ragged else rows.index_select(0, self.starts)

    def best(self, scores: Tensor, counts: np.ndarray) -> tuple["Survivors", Tensor]:
        """The ``counts`` best of each sequence, its first always among them.

        Parameters
        ----------
        scores : (batch, width) higher = stays; those of fillers do not matter. Overwritten.

        Returns
        -------
        survivors : who stays
        index : (rows that stay,) their rows among those here
        """
        if self.real is not None:
            scores.masked_fill_(~self.real, -torch.inf)
        scores[:, 0] = torch.inf
        stays = Survivors(counts, None, self.device)
        order = scores.topk(stays.width, dim=1, sorted=stays.ragged).indices
        if stays.real is not None:
            # Best first: what stands beyond a sequence's own count goes to the end, and is left out.
            order = order.masked_fill_(~stays.real, self.width)
        rows = order.sort(dim=1).values
        if self.batch > 1:
            rows += self.starts[:, None]
        rows = rows.flatten()
        return stays, rows.index_select(0, stays.slots) if stays.ragged else rows

    @cached_property
    def _real(self) -> np.ndarray:
        return np.arange(self.width) < self.counts[:, None]

    @cached_property
    def _sources(self) -> Tensor:
        sources = np.zeros(self._real.shape, dtype=np.int64)
        sources[self._real] = np.arange(self.counts.sum())
        return self._tensor(sources.ravel())

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.int64)).to(self.device)


class Call:
    """State of one forward pass: it travels with the call's arguments and is never kept on the model.

    Gradient checkpointing runs a layer again from the same arguments, and threads have calls of their own, so
    neither can meet another pass.

    Parameters
    ----------
    keep : keep ratio of each layer
    mask : (batch, n_0) True on real word-vectors; None if all are
    shape : (batch, n_0)
    reads : ``pooled`` or ``all``
    """

    def __init__(
        self,
        keep: Sequence[float],
        mask: Tensor | None,
        shape: tuple[int, int],
        device: torch.device,
        reads: str,
        score: Score,
        observer: Observer | None = None,
    ) -> None:
        batch, length = shape
        self.reads, self.observer, self._score = reads, observer, score
        self.entering = {0: _entering(mask, batch, length, device)}
        self._counts = schedule(keep, self.entering[0].counts, reads)
        self._falls = [bool(falls.any()) for falls in self._counts[1:] < self._counts[:-1]]
        self._scores: dict[int, Tensor] = {}

    def trims(self, layer: int) -> bool:
        """Whether only the pooled position leaves this layer, so that it alone needs computing."""
        # An observer wants every query's attention, so there the pooled position is chosen like any survivor.
        return self.reads == POOLED and layer == len(self._falls) - 1 and self.observer is None

    def eliminates(self, layer: int) -> bool:
        return self._falls[layer] and not self.trims(layer)

    def needs_scores(self, layer: int) -> bool:
        return self.observer is not None or self.eliminates(layer)

    @torch.no_grad()
    def receive(self, layer: int, received: Tensor, values: Tensor) -> None:
        """Score the word-vectors of a layer.

        Parameters
        ----------
        received : (batch, heads, keys) attention that each receives
        values : (batch, heads, keys, head_dim)
        """
        entering = self.entering[layer]
        visible = None
        if entering.real is not None:
            visible = entering.real * torch.from_numpy(entering.counts).to(entering.device)[:, None]
        self._scores[layer] = scores = self._score(received, values, visible)
        if self.observer is not None:
            self.observer(layer, shares(scores), entering.real, torch.from_numpy(entering.counts))

    def choose(self, layer: int) -> tuple[Survivors, Tensor]:
        """Who leaves a layer that eliminates, and their rows among those that entered it."""
        return self.entering[layer].best(self._scores.pop(layer), self._counts[layer + 1])


def _entering(mask: Tensor | None, batch: int, length: int, device: torch.device) -> Survivors:
    if mask is not None:
        # The one moment at which the host waits for the device.
        counts = np.asarray(mask.sum(dim=1).tolist(), dtype=np.int64)
        if int(counts.min(initial=length)) < length:
            return Survivors(counts, mask.flatten().nonzero().squeeze(1), device)
    return Survivors(np.full(batch, length, dtype=np.int64), None, device)
