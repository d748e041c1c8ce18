"""How the embeddings of a model of sentence-transformers are read, distilled and compared."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.elimination.sentence_transformer import pipeline_of
from latadj.tasks.encoding.batches import Batch
from latadj.tasks.metrics.cosines import cosines
from latadj.tasks.outputs.logits import Outputs


class EmbeddingOutputs(Outputs):
    """The embedding of each text: what the modules after the transformer make of its tokens.

    A call gives (batch, dimensions). Nothing is labelled, so that a teacher's embeddings are all there is to learn.
    """

    targets: tuple[str, ...] = ()
    own_loss = False

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        pipeline = pipeline_of(getattr(model, "module", model))
        hidden = model(**batch).last_hidden_state.float()
        features: dict[str, Any] = {"token_embeddings": hidden, "attention_mask": batch["attention_mask"]}
        for module in list(pipeline)[1:]:
            # Who moves the transformer, to another device or type, need not know what comes after it.
            features = module.to(hidden.device)(features)
        return features["sentence_embedding"]

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        """How far the embeddings point in directions of chance: what a weight is to that, it is to the embeddings."""
        return (outputs * torch.randn_like(outputs)).sum(-1).mean()

    def divergence(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One minus the mean cosine with the target, plus the mean squared error of all cosines in the batch."""
        ours, theirs = (functional.normalize(part.float(), dim=-1) for part in (outputs, target))
        apart = 1 - (ours * theirs).sum(-1).mean()
        return apart + functional.mse_loss(ours @ ours.T, theirs @ theirs.T)

    def agreement(self, ours: np.ndarray, full: np.ndarray) -> float:
        """Mean cosine of each text's two embeddings."""
        return float(cosines(ours, full).mean())
