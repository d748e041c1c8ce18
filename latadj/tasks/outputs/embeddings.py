"""How the embeddings of a model of sentence-transformers are read, distilled and compared."""

from collections.abc import Sequence
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

    Parameters
    ----------
    dimensions : only the first so many numbers of an embedding; None: as many as ``encode`` of its
        ``SentenceTransformer`` gives, whose ``truncate_dim`` may say so
    """

    targets: tuple[str, ...] = ()
    own_loss = False

    def __init__(self, dimensions: int | None = None) -> None:
        self.dimensions = dimensions

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        return self.whole(model, batch)[:, : self.dimensions or truncated_to(model)]

    def whole(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """All numbers of the embeddings, (batch, dimensions)."""
        pipeline = pipeline_of(getattr(model, "module", model))
        hidden = model(**batch).last_hidden_state.float()
        features: dict[str, Any] = {"token_embeddings": hidden, "attention_mask": batch["attention_mask"]}
        for module in list(pipeline)[1:]:
            # Who moves the transformer, to another device or type, need not know what comes after it.
            features = module.to(hidden.device)(features)
        return features["sentence_embedding"]

    def raw(self) -> Outputs:
        return WholeEmbeddings()

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


class WholeEmbeddings(EmbeddingOutputs):
    """All numbers of an embedding, whatever ``truncate_dim`` says, as training sees them.

    Parameters
    ----------
    beginnings : numbers of dimensions; the divergence is summed over the whole embedding and its beginnings of these
        sizes, as in Matryoshka representation learning (Kusupati et al., 2022)
    """

    def __init__(self, beginnings: Sequence[int] = ()) -> None:
        super().__init__()
        self.beginnings = tuple(beginnings)

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        return self.whole(model, batch)

    def raw(self) -> Outputs:
        return self

    def divergence(self, outputs: Tensor, target: Tensor) -> Tensor:
        apart = super().divergence(outputs, target)
        for size in self.beginnings:
            apart = apart + super().divergence(outputs[:, :size], target[:, :size])
        return apart


def truncated_to(model: PreTrainedModel) -> int | None:
    """How many numbers ``encode`` of a transformer's ``SentenceTransformer`` leaves of an embedding; None: all."""
    size: int | None = pipeline_of(getattr(model, "module", model)).truncate_dim
    return size


def require_dimensions(model: PreTrainedModel, option: str, sizes: Sequence[int]) -> None:
    """Refuse more numbers of an embedding than a model's have.

    Parameters
    ----------
    option : that names the sizes

    Raises
    ------
    ValueError
    """
    most = embedding_size(model) if sizes else 0
    for size in sizes:
        if size > most:
            raise ValueError(f"{option}={size}: the embeddings of this model have {most} numbers; give no more")


def embedding_size(model: PreTrainedModel) -> int:
    """How many numbers an embedding of a model has before any are left out: what comes of one token."""
    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    with torch.inference_mode():
        return WholeEmbeddings()(model, {"input_ids": token, "attention_mask": torch.ones_like(token)}).shape[1]
