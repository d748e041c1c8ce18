"""The training examples that a prompt shows."""

import random

import numpy as np
from datasets import Dataset


def draw(train: Dataset, count: int, seed: int) -> Dataset:
    """Training examples in rounds of one for each label, in an order that the seed decides.

    The first ones of a longer draw are those of a shorter one. A label whose examples are used up is passed over.

    Raises
    ------
    ValueError
        if there are fewer than ``count`` training examples.
    """
    if count > len(train):
        raise ValueError(f"{count} examples to show or to calibrate on, but the training split has {len(train)}")
    rng = random.Random(seed)
    labels = np.asarray(train["label"])
    waiting = {label: rng.sample(found, len(found)) for label, found in _by_label(labels).items()}
    chosen: list[int] = []
    while len(chosen) < count:
        left = [label for label, found in waiting.items() if found]
        chosen += [waiting[label].pop() for label in rng.sample(left, len(left))]
    return train.select(chosen[:count])


def _by_label(labels: np.ndarray) -> dict[int, list[int]]:
    return {int(label): np.flatnonzero(labels == label).tolist() for label in np.unique(labels)}
