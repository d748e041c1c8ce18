"""How a reranker's outputs for pairs are read and trained: one score, or the odds of the second of two labels."""

import numpy as np
from torch import Tensor
from torch.nn import functional

from latadj.tasks.encoding.batches import Batch
from latadj.tasks.outputs.logits import Outputs


def odds(logits: np.ndarray) -> np.ndarray:
    """(pairs, 1 or 2) logits to (pairs,) log-odds that the document answers the query; higher = better."""
    return logits[:, 0] if logits.shape[-1] == 1 else logits[:, 1] - logits[:, 0]


class ScoreOutputs(Outputs):
    """The logits of a head that scores a document beside its query: one, or one for each of two labels."""

    own_loss = False

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        """Binary cross-entropy, sentence-transformers' loss of a ``CrossEncoder``; ``labels`` are from 0 to 1."""
        score = outputs[..., 0] if outputs.shape[-1] == 1 else outputs[..., 1] - outputs[..., 0]
        return functional.binary_cross_entropy_with_logits(score, targets["labels"].to(score.dtype))
