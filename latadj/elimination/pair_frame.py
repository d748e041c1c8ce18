"""Which tokens of two texts in one row are the second's: a reranker protects all others, the query's above all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PairFrame:
    """The special tokens that a tokenizer puts around a query and its document.

    before, behind : how many stand before the query and behind the document
    between : ids of those between the two
    """

    before: int
    between: tuple[int, ...]
    behind: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "PairFrame":
        """That of a tokenizer.

        Raises
        ------
        ValueError
            if it puts nothing between two texts, or does not say what it puts.
        """
        name = type(tokenizer).__name__
        if not tokenizer.is_fast:
            raise ValueError(f"{name} does not say which tokens are the query's: take a model with a fast tokenizer")
        pair = tokenizer("a", "a")
        ids, parts = list(pair["input_ids"]), pair.sequence_ids(0)
        if 0 not in parts or 1 not in parts:
            raise ValueError(f"{name} makes no token of 'a', so that query and document cannot be told apart")
        query, document = parts.index(0), parts.index(1)
        between = ids[query + parts.count(0) : document]
        if not between:
            raise ValueError(
                f"{name} puts no token between query and document, so that nothing tells them apart: "
                "give task.protect_query=false"
            )
        return cls(query, tuple(between), len(ids) - document - parts.count(1))

    def spans(self, ids: Sequence[int]) -> list[int]:
        """From which token to which one row is protected, ends not among them: twice two places.

        All but the document's tokens are. Of a single text nothing is, which is twice an empty span.
        """
        places = range(self.before, len(ids))
        separator = next((place for place in places if ids[place] == self.between[0]), len(ids))
        start, stop = separator + len(self.between), len(ids) - self.behind
        return [0, start, stop, len(ids)] if start <= stop else [0, 0, 0, 0]

    def separate(self, ids: np.ndarray, protected: float) -> None:
        """Put what stands between two texts into a row of any tokens, so that about so many of them are protected.

        Parameters
        ----------
        ids : (n_0,), changed in place; too few tokens for a pair stay as they are
        """
        last = len(ids) - self.behind - len(self.between)
        if last >= self.before:
            start = int(np.clip(round(protected) - self.behind - len(self.between), self.before, last))
            ids[start : start + len(self.between)] = self.between

    def protected(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """The same of a padded batch.

        Parameters
        ----------
        ids : (batch, n_0)
        mask : (batch, n_0) True on real tokens; None if all are

        Returns
        -------
        (batch, n_0) True on protected tokens
        """
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        place, count = real.cumsum(dim=1) - 1, real.sum(dim=1, keepdim=True)
        separators = real & (place >= self.before) & (ids == self.between[0])
        separator = place.masked_fill(~separators, ids.shape[1]).amin(dim=1, keepdim=True)
        start, stop = separator + len(self.between), count - self.behind
        return real & (start <= stop) & ((place < start) | (place >= stop))
