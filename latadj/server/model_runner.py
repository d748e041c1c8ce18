"""One batch through the model, at any setting of its dial."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.attach import attached, dial_of
from latadj.elimination.current_setting import at_profile
from latadj.elimination.kernel_rows import kernel_rows
from latadj.elimination.profiles import Profile
from latadj.runtime import Predictor
from latadj.runtime.tokens import Encoded
from latadj.server.batch_bytes import TYPES
from latadj.tasks.encoding.batches import pad
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD, require_numbers


class BatchRunner(Protocol):
    """Runs batches."""

    def __call__(self, rows: Sequence[dict[str, Any]], profile: Profile) -> np.ndarray:
        """(rows, outputs) logits, float32.

        Raises
        ------
        ValueError
            if one is no number.
        """

    def random_row(self, rng: np.random.Generator, length: int) -> dict[str, Any]:
        """Random tokens, as many of them protected as of texts to come."""

    def kernel_sizes(self, most: int) -> Sequence[int]:
        """Tokens of batches that run for the first time more slowly than later, up to so many."""


class ModelRunner:
    """Runs batches in PyTorch.

    Parameters
    ----------
    model : in eval mode, its dial attached
    outputs : how its answers are read
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, outputs: Outputs = HEAD) -> None:
        self.model, self.tokenizer, self.outputs = model, tokenizer, outputs

    def __call__(self, rows: Sequence[dict[str, Any]], profile: Profile) -> np.ndarray:
        if any(TYPES in row for row in rows):  # pairs among single texts, whose tokens are all of type 0
            rows = [row if TYPES in row else {**row, TYPES: [0] * len(row["input_ids"])} for row in rows]
        batch = {name: tensor.to(self.model.device) for name, tensor in pad(rows, self.tokenizer).items()}
        with torch.inference_mode(), at_profile(self.model, profile):
            outputs = self.outputs(self.model, batch).float().cpu()
        require_numbers(outputs)
        return np.asarray(outputs.numpy())

    def random_row(self, rng: np.random.Generator, length: int) -> dict[str, Any]:
        ids, pair = rng.integers(0, int(self.model.config.vocab_size), length), attached(self.model).pair
        if pair is not None:
            pair.separate(ids, dial_of(self.model).protected)
        return {"input_ids": ids}

    def kernel_sizes(self, most: int) -> Sequence[int]:
        # A kernel is made for each number of tokens that enters a layer, which takes longer than the layer.
        return sorted({kernel_rows(count) for count in range(1, most + 1)})


class GraphRunner:
    """Runs batches through the graphs of an exported folder.

    Parameters
    ----------
    profiles : that batches run at; their graphs are read now
    """

    def __init__(self, predictor: Predictor, vocabulary: int, profiles: Sequence[Profile]) -> None:
        self.predictor, self._vocabulary = predictor, vocabulary
        for profile in (Profile.full(len(profiles[0].keep)), *profiles):
            predictor.session(profile)

    def __call__(self, rows: Sequence[dict[str, Any]], profile: Profile) -> np.ndarray:
        batch = [Encoded(row["input_ids"], row[TYPES] if TYPES in row else [0] * len(row["input_ids"])) for row in rows]
        (outputs,) = self.predictor.run_in_parts(batch, profile)
        require_numbers(torch.from_numpy(outputs))
        return outputs

    def random_row(self, rng: np.random.Generator, length: int) -> dict[str, Any]:
        return {"input_ids": rng.integers(0, self._vocabulary, length)}

    def kernel_sizes(self, most: int) -> Sequence[int]:
        return ()
