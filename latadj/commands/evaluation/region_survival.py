"""Which positions of a prompt survive each layer, region by region."""

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.attach import at_profile
from latadj.elimination.profiles import Profile
from latadj.elimination.survivors import Survivors
from latadj.reporting.regions import RegionShares, region_shares
from latadj.tasks.encoding.batches import bucketed, rows_of
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import predict


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
    """Run prompts under a profile and count who leaves each layer.

    Parameters
    ----------
    model : with elimination attached
    encoded : what ``Prompts.encode`` made
    outputs : how the model is run
    score : ranks tokens; the dial's when left out
    """
    rows = rows_of(encoded)
    layers = len(profile.keep)
    # Padding stands in front of a decoder's prompts, so columns are counted from the end.
    from_end = not model.config.is_encoder_decoder or tokenizer.padding_side == "left"
    seen: list[list[np.ndarray]] = [[] for _ in range(layers)]

    def witness(layer: int, leaving: Survivors) -> None:
        seen[layer] += [columns - from_end * leaving.length for columns in leaving.places()]

    # A pass that eliminates nothing and is not observed may be transformers' own, which no one can witness.
    observer = None if profile.eliminates else lambda *_: None
    with at_profile(model, profile, score=score, score_observer=observer, survivor_observer=witness):
        predict(model, tokenizer, rows, outputs=outputs.raw(), batch_size=batch_size)
    order = np.concatenate(bucketed(rows, batch_size))
    lengths = [len(rows[index]["input_ids"]) for index in order]
    survivors = [
        [columns + from_end * length for columns, length in zip(layer, lengths, strict=True)] for layer in seen
    ]
    return region_shares(survivors, [encoded["regions"][index] for index in order])
