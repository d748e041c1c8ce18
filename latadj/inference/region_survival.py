"""Which tokens of a prompt survive each layer, region by region: instruction, shots, query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.elimination.survivors import Survivors
from latadj.tasks.encoding.batches import bucketed, rows_of
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import predict

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
        if a layer has survivors of another number of prompts, or a survivor is in no region.
    """
    names = list(dict.fromkeys(region["name"] for spans in regions for region in spans))
    place = {name: index for index, name in enumerate(names)}
    belongs = [
        np.repeat([place[s["name"]] for s in spans], [s["stop"] - s["start"] for s in spans]) for spans in regions
    ]
    totals = np.array([np.bincount(row, minlength=len(names)) for row in belongs])
    left = np.zeros((len(survivors), len(names)), dtype=int)
    for layer, rows in enumerate(survivors):
        if len(rows) != len(regions):
            raise ValueError(f"layer {layer} has survivors of {len(rows)} prompts, there are {len(regions)}")
        for positions, row in zip(rows, belongs, strict=True):
            alive = np.asarray(positions, dtype=int)
            if len(alive) and not (alive.min() >= 0 and alive.max() < len(row)):
                raise ValueError(f"layer {layer}: a survivor stands outside its prompt of {len(row)} tokens")
            left[layer] += np.bincount(row[alive], minlength=len(names))
    total = totals.sum(axis=0)
    shares = {name: (left[:, index] / total[index]).tolist() for name, index in place.items()}
    shares[ALL] = (left.sum(axis=1) / total.sum()).tolist()
    tokens = {name: float(total[index] / (totals[:, index] > 0).sum()) for name, index in place.items()}
    tokens[ALL] = float(total.sum() / len(regions))
    return RegionShares(tokens, shares)


def survivors_by_region(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Dataset,
    profile: Profile,
    outputs: Outputs,
    *,
    score: str | None = None,
    batch_size: int = 64,
) -> RegionShares:
    """Run prompts under a profile and count the tokens that leave each layer.

    Parameters
    ----------
    model : with elimination attached
    encoded : what ``Prompts.encode`` made
    outputs : how the model's outputs are read
    score : ranks tokens; the dial's when left out
    """
    rows = rows_of(encoded)
    layers = len(profile.keep)
    # Padding comes before a decoder's prompts, so columns are counted from the end.
    from_end = not model.config.is_encoder_decoder or tokenizer.padding_side == "left"
    seen: list[list[np.ndarray]] = [[] for _ in range(layers)]

    def observe(layer: int, leaving: Survivors) -> None:
        seen[layer] += [columns - from_end * leaving.length for columns in leaving.places()]

    # A pass that eliminates nothing and is not observed may be transformers' own, which has no observer.
    observer = None if profile.eliminates else lambda *_: None
    with at_profile(model, profile, score=score, score_observer=observer, survivor_observer=observe):
        predict(model, tokenizer, rows, outputs=outputs.raw(), batch_size=batch_size)
    order = np.concatenate(bucketed(rows, batch_size))
    lengths = [len(rows[index]["input_ids"]) for index in order]
    survivors = [
        [columns + from_end * length for columns, length in zip(layer, lengths, strict=True)] for layer in seen
    ]
    return region_shares(survivors, [encoded["regions"][index] for index in order])
