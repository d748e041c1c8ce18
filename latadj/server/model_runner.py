"""One batch through the model, at a speedup of its dial."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.server.batch_bytes import TYPES
from latadj.tasks.encoding.batches import pad
from latadj.tasks.outputs.predict import HEAD, require_numbers


class ModelRunner:
    """Runs batches.

    Parameters
    ----------
    model : in eval mode, its dial attached
    profiles : by place
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, profiles: Sequence[Profile]) -> None:
        self.model, self.tokenizer, self.profiles = model, tokenizer, profiles

    def __call__(self, rows: Sequence[dict[str, Any]], place: int) -> np.ndarray:
        """(rows, outputs) logits, float32, at the speedup of a place.

        Raises
        ------
        ValueError
            if one is no number.
        """
        return self.at(self.profiles[place], rows)

    def at(self, profile: Profile, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        """The same, at any profile of the dial."""
        if any(TYPES in row for row in rows):  # pairs among single texts, whose tokens are all of type 0
            rows = [row if TYPES in row else {**row, TYPES: [0] * len(row["input_ids"])} for row in rows]
        batch = {name: tensor.to(self.model.device) for name, tensor in pad(rows, self.tokenizer).items()}
        with torch.inference_mode(), at_profile(self.model, profile):
            outputs = HEAD(self.model, batch).float().cpu()
        require_numbers(outputs)
        return np.asarray(outputs.numpy())
