"""Sliding-window attention over survivors: a window counts positions of the text, not those who are left."""

import torch
from torch import Tensor
from torch.nn import functional


class SlidingWindow:
    """How far back the causal queries of a layer see in one pass.

    Parameters
    ----------
    reach : positions that a query sees, its own among them
    positions : (batch or 1, tokens) where each token stood in the text, rising; on fillers behind all others, so that
        a filler sees itself at least
    """

    def __init__(self, reach: int, positions: Tensor) -> None:
        self.reach, self.positions = reach, positions

    def part(self, start: int, count: int) -> "SlidingWindow":
        """That of some of the sequences."""
        if len(self.positions) == 1:
            return self
        return SlidingWindow(self.reach, self.positions[start : start + count])

    def padded(self, spare: int) -> "SlidingWindow":
        """With so many fillers more at the end."""
        far = torch.iinfo(self.positions.dtype).max
        return SlidingWindow(self.reach, functional.pad(self.positions, (0, spare), value=far))

    def too_far(self, queries: slice | Tensor, keys: slice = slice(None)) -> Tensor:
        """(batch or 1, queries, keys) True on keys that stand too far before a query.

        Parameters
        ----------
        queries : columns, or (batch, queries) indices of columns
        """
        if isinstance(queries, Tensor):
            asking = self.positions.expand(len(queries), -1).gather(1, queries)
        else:
            asking = self.positions[:, queries]
        return asking[:, :, None] - self.positions[:, None, keys] >= self.reach

    def visible(self) -> Tensor:
        """(batch or 1, tokens, tokens) True on the keys that each token sees as a query."""
        return (~self.too_far(slice(None))).tril()

    def seen_by_last(self, last: Tensor) -> Tensor:
        """(batch, tokens) True on the keys near enough to each sequence's last token, fillers too.

        Parameters
        ----------
        last : (batch or 1, 1) its position
        """
        return last - self.positions < self.reach

    def first_seen(self, block: int) -> list[int]:
        """For each block of queries the first key that one of them sees in some sequence."""
        first = self.positions[:, ::block]
        return torch.searchsorted(self.positions, first - self.reach, right=True).amin(dim=0).tolist()

    def seers_end(self) -> Tensor:
        """(batch or 1, tokens) the first token behind those that see each one."""
        return torch.searchsorted(self.positions, self.positions + self.reach)
