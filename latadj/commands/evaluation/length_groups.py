"""Divides a test split by the lengths of its texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SHORTEST = 0.05
FIFTHS = ("shortest fifth", "second fifth", "middle fifth", "fourth fifth", "longest fifth")
# Below this a group's metric is chance.
FEWEST = 10


@dataclass(frozen=True)
class Group:
    """Examples of like length: their places, and the tokens of the shortest and the longest."""

    name: str
    places: np.ndarray
    least: int
    most: int


def example_lengths(lengths: np.ndarray, owners: Sequence[int] | None, count: int) -> np.ndarray:
    """(count,) tokens of each example: of its longest row where it has several, 0 where it has none.

    Parameters
    ----------
    lengths : tokens of each encoded row
    owners : to which example each row belongs; None: one row each
    """
    if owners is None:
        return lengths
    longest = np.zeros(count, dtype=np.int64)
    np.maximum.at(longest, np.asarray(owners), lengths)
    return longest


def length_groups(lengths: np.ndarray) -> Iterator[Group]:
    """The shortest 5% and the fifths of a split; nothing where all lengths are alike or the groups would be tiny.

    Parameters
    ----------
    lengths : (examples,) tokens
    """
    order, count = np.argsort(lengths, kind="stable"), len(lengths)
    if count < len(FIFTHS) * FEWEST or lengths.min() == lengths.max():
        return
    parts = [(f"shortest {SHORTEST:.0%}", order[: max(round(SHORTEST * count), FEWEST)])]
    parts += zip(FIFTHS, np.array_split(order, len(FIFTHS)), strict=True)
    for name, places in parts:
        chosen = np.sort(places)
        yield Group(name, chosen, int(lengths[chosen].min()), int(lengths[chosen].max()))
