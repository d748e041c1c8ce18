"""Where tokens survive: the share of each region of a prompt that leaves each layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ALL = "all"


@dataclass
class RegionShares:
    """Survivors by region.

    tokens : region -> tokens of it that a prompt has, on average over the prompts that have any
    shares : region -> for each layer the share of its tokens that leave that layer, over all prompts together
    """

    tokens: dict[str, float]
    shares: dict[str, list[float]]


def region_shares(
    survivors: Sequence[Sequence[Sequence[int] | np.ndarray]], regions: Sequence[Sequence[dict[str, Any]]]
) -> RegionShares:
    """Count survivors in the regions of their prompts.

    Parameters
    ----------
    survivors : for each layer and prompt the positions of the tokens that leave the layer, counted from the
        prompt's first token (not from padding before it)
    regions : for each prompt its regions, as ``Prompts.encode`` gives them: ``name``, ``start``, ``stop``

    Returns
    -------
    shares of each region, in the order of the prompts' regions, and of ``all``

    Raises
    ------
    ValueError
        if a layer has survivors of another number of prompts, or a survivor stands in no region.
    """
    names = list(dict.fromkeys(region["name"] for spans in regions for region in spans))
    place = {name: index for index, name in enumerate(names)}
    belongs = [
        np.repeat([place[s["name"]] for s in spans], [s["stop"] - s["start"] for s in spans]) for spans in regions
    ]
    had = np.array([np.bincount(row, minlength=len(names)) for row in belongs])
    left = np.zeros((len(survivors), len(names)), dtype=int)
    for layer, rows in enumerate(survivors):
        if len(rows) != len(regions):
            raise ValueError(f"layer {layer} has survivors of {len(rows)} prompts, there are {len(regions)}")
        for positions, row in zip(rows, belongs, strict=True):
            alive = np.asarray(positions, dtype=int)
            if len(alive) and not (alive.min() >= 0 and alive.max() < len(row)):
                raise ValueError(f"layer {layer}: a survivor stands outside its prompt of {len(row)} tokens")
            left[layer] += np.bincount(row[alive], minlength=len(names))
    total = had.sum(axis=0)
    shares = {name: (left[:, index] / total[index]).tolist() for name, index in place.items()}
    shares[ALL] = (left.sum(axis=1) / total.sum()).tolist()
    tokens = {name: float(total[index] / (had[:, index] > 0).sum()) for name, index in place.items()}
    tokens[ALL] = float(total.sum() / len(regions))
    return RegionShares(tokens, shares)
