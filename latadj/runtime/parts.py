"""A batch whose texts run at two settings: its parts, and their outputs as one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from latadj.elimination.profiles import Profile


def parts_of(profile: Profile, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, Profile]]:
    """Places of a batch's texts in parts that run at one setting, and the setting."""
    whole = profile.whole(lengths) if profile.whole_length else np.zeros(len(lengths), dtype=bool)
    for part, setting in (
        (np.flatnonzero(~whole), replace(profile, whole_length=0.0)),
        (np.flatnonzero(whole), Profile.full(len(profile.keep))),
    ):
        if len(part):
            yield part, setting


def joined(rows: Sequence[tuple[np.ndarray, list[np.ndarray]]], texts: int) -> list[np.ndarray]:
    """Outputs of parts in the order of the texts; what has a column for each token is padded with zeros."""
    made = []
    for number in range(len(rows[0][1])):
        pieces = [(part, outputs[number]) for part, outputs in rows]
        shape = [max(sizes) for sizes in zip(*(piece.shape[1:] for _, piece in pieces), strict=True)]
        whole = np.zeros((texts, *shape), dtype=pieces[0][1].dtype)
        for part, piece in pieces:
            index: tuple[Any, ...] = (part, *(slice(size) for size in piece.shape[1:]))
            whole[index] = piece
        made.append(whole)
    return made
