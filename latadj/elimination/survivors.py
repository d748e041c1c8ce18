"""Which tokens enter a layer: rows of one matrix, and where they stood."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor


class Survivors:
    """The tokens that enter a layer: rows of a matrix, sequence after sequence, in their original order.

    No row is padding, so linear layers never compute any. Attention alone needs a frame of one width; where all
    sequences are of one length that frame is a view.

    Parameters
    ----------
    counts : (batch,) tokens of each sequence, on the host
    origin : (rows,) where each stood in the flattened (batch * n_0) input; None = everyone, and no padding was there
    length : n_0, columns of that input
    device : where the rows are
    """

    def __init__(self, counts: np.ndarray, origin: Tensor | None, length: int, device: torch.device) -> None:
        self.counts, self.origin, self.length, self.device = counts, origin, length, device
        # A few Python numbers are quicker to compare than numpy is to call, and every layer makes one of these.
        numbers = counts.tolist()
        self.batch, self.width = len(numbers), max(numbers, default=0)
        self.ragged = self.batch > 1 and min(numbers) < self.width

    @cached_property
    def starts(self) -> Tensor:
        """(batch,) row of each sequence's first token."""
        if not self.ragged:
            return torch.arange(0, self.batch * self.width, max(self.width, 1), device=self.device)
        return self._tensor(np.concatenate([[0], np.cumsum(self.counts)[:-1]]))

    @cached_property
    def slots(self) -> Tensor:
        """(rows,) where each row stands in the flattened frame."""
        return self._tensor(np.flatnonzero(self._real))

    @property
    def real(self) -> Tensor | None:
        """(batch, width) True on tokens, False on fillers; None where the frame has no fillers."""
        return self._real_tensor if self.ragged else None

    def frame(self, rows: Tensor) -> Tensor:
        """(rows, features) to (batch, width, features); fillers repeat some row, so that they are finite."""
        if not self.ragged:
            return rows.reshape(self.batch, self.width, rows.shape[-1])
        return rows.index_select(0, self._sources).view(self.batch, self.width, rows.shape[-1])

    def heads(self, rows: Tensor, size: int) -> Tensor:
        """(rows, heads * size) to (batch, heads, width, size), framed as by :meth:`frame`."""
        framed = self.frame(rows) if self.ragged else rows
        return framed.view(self.batch, self.width, rows.shape[-1] // size, size).transpose(1, 2)

    def rows(self, frame: Tensor) -> Tensor:
        """Inverse of :meth:`frame`."""
        flat = frame.flatten(0, 1)
        return flat.index_select(0, self.slots) if self.ragged else flat

    def pooled(self, rows: Tensor, last: bool) -> Tensor:
        """First or last token of each sequence: (rows, features) to (batch, features)."""
        if not self.ragged:
            return self.frame(rows)[:, -1 if last else 0]
        return rows.index_select(0, self.ends if last else self.starts)

    def pick_last(self, frame: Tensor) -> Tensor:
        """Last token of each sequence: (batch or 1, width, features) to (batch or 1, 1, features)."""
        if not self.ragged or len(frame) == 1 != self.batch:
            return frame[:, -1:]
        return frame.flatten(0, 1).index_select(0, self.slots.index_select(0, self.ends))[:, None]

    def at_origin(self, table: Tensor) -> Tensor:
        """What a table of all positions has for those alive: (batch or 1, n_0, features) to (batch, width, features).

        With everyone alive, a table that all sequences share stays one.
        """
        if self.origin is None:
            return table
        if len(table) == 1:
            return self.frame(table[0].index_select(0, self.columns))
        return self.frame(table.flatten(0, 1).index_select(0, self.origin))

    def between(self, table: Tensor, dtype: torch.dtype) -> Tensor:
        """What a table of all pairs of positions, which tells their distance only, has for those alive.

        (1, heads, n_0, n_0) to (batch or 1, heads, width, width)
        """
        if self.origin is None:
            return table.to(dtype)
        # Its first column, from the last row up, and its first row: 2 * n_0 - 1 distances are quicker to look up.
        distances = torch.cat([table[0, :, 1:, 0].flip(-1), table[0, :, 0]], dim=1).to(dtype)
        pairs = self.distances(self.width)
        return distances.index_select(1, pairs.flatten()).view(-1, *pairs.shape).transpose(0, 1)

    def distances(self, queries: int) -> Tensor:
        """How far each token stands behind each of the first ``queries`` of its text, by columns of the input.

        With everyone alive, one text's hold for all.

        Returns
        -------
        (batch or 1, queries, width), ``n_0 - 1`` more than the distance, so that the smallest is 0
        """
        if self.origin is None:
            places = torch.arange(self.length, device=self.device)[None]
        else:
            places = self.frame(self.columns[:, None]).squeeze(2)
        return places[:, None, :] - places[:, :queries, None] + self.length - 1

    def chosen(self, survivors: Tensor, counts: np.ndarray) -> "Survivors":
        """Those of these rows: ``survivors`` are (rows,) indices, ``counts`` how many of each sequence."""
        origin = survivors if self.origin is None else self.origin.index_select(0, survivors)
        return Survivors(counts, origin, self.length, self.device)

    def best(self, scores: Tensor, counts: np.ndarray) -> Tensor:
        """Rows of the ``counts`` best tokens of each sequence, in their order: (rows that stay,) indices.

        Parameters
        ----------
        scores : (batch, width) higher = stays; those of fillers do not matter. Overwritten.
        """
        if self.real is not None:
            scores.masked_fill_(~self.real, -torch.inf)
        stays = Survivors(counts, None, self.length, self.device)
        order = scores.topk(stays.width, dim=1, sorted=stays.ragged).indices
        if stays.real is not None:
            # Best first: what stands beyond a sequence's own count goes to the end, and is left out.
            order = order.masked_fill_(~stays.real, self.width)
        rows = order.sort(dim=1).values
        if self.batch > 1:
            rows += self.starts[:, None]
        rows = rows.flatten()
        return rows.index_select(0, stays.slots) if stays.ragged else rows

    @cached_property
    def columns(self) -> Tensor:
        """(rows,) column of the input in which each stood."""
        if self.origin is None:
            return torch.arange(self.length, device=self.device).repeat(self.batch)
        return self.origin % self.length

    @cached_property
    def positions(self) -> Tensor:
        """(batch or 1, width) column of the input in which each of the frame stood; ``length`` on fillers."""
        if self.origin is None:
            return torch.arange(self.length, device=self.device)[None]
        framed = self.frame(self.columns[:, None])[..., 0]
        return framed if self.real is None else framed.masked_fill(~self.real, self.length)

    def places(self) -> list[np.ndarray]:
        """For each sequence the columns of the input in which its tokens stood, on the host."""
        return np.split(self.columns.cpu().numpy(), np.cumsum(self.counts)[:-1])

    @cached_property
    def ends(self) -> Tensor:
        """(batch,) row of each sequence's last token."""
        return self._tensor(np.cumsum(self.counts) - 1)

    @cached_property
    def _real(self) -> np.ndarray:
        return np.arange(self.width) < self.counts[:, None]

    @cached_property
    def _real_tensor(self) -> Tensor:
        return torch.from_numpy(self._real).to(self.device)

    @cached_property
    def _sources(self) -> Tensor:
        sources = np.zeros(self._real.shape, dtype=np.int64)
        sources[self._real] = np.arange(self.counts.sum())
        return self._tensor(sources.ravel())

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.int64)).to(self.device)
