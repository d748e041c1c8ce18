"""Training of models with a head, or of language models that answer by the label words of a prompt."""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import AdjustConfig
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.tasks.encoding.batches import POSITION_MASK, TEACHER, Batch, Collator, rows_of
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD
from latadj.tasks.types import TaskType
from latadj.training.objective import Loss, ProfileSampler, TrainingObjective, unwrapped
from latadj.training.shares import predict_in_shares


def head_objective(
    task_type: TaskType,
    tokenizer: PreTrainedTokenizerBase,
    examples: Dataset,
    encoded: Dataset,
    *,
    loss: Loss | None = None,
    outputs: Outputs = HEAD,
    autocast: torch.dtype | None = None,
) -> TrainingObjective:
    """The objective of a head: the task's metric on the validation split.

    Parameters
    ----------
    examples, encoded : the validation split, as read and as encoded
    loss : when left out the model's own, or the task's that ``outputs`` defines
    outputs : how the model's outputs are read
    autocast : type in which validation runs; None: the model's own
    """
    rows = rows_of(encoded)

    def score(model: PreTrainedModel) -> float:
        answers = predict_in_shares(model, tokenizer, rows, outputs=outputs, autocast=autocast)
        task_type.tune_threshold(answers, encoded, examples)
        return task_type.scores(task_type.predictions(answers, encoded, examples), examples)[task_type.task.metric]

    if loss is None and not outputs.own_loss:
        loss = TaskLoss(outputs.raw())
    return TrainingObjective(task_type.task.metric, score, Collator(tokenizer, outputs.targets), loss)


class TaskLoss:
    """The task loss alone, where it is not the model's own: of label words, or of where an answer starts and ends."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        inputs, targets = self.outputs.split_targets(batch)
        return self.outputs.loss(self.outputs(model, inputs).float(), targets)


class DistilledLoss:
    """``task loss + divergence from the teacher``, of one pass.

    The teacher's logits come with the examples in the column ``TEACHER``.
    """

    def __init__(
        self, outputs: Outputs, *, task_loss_weight: float = 1.0, distillation_loss_weight: float = 1.0
    ) -> None:
        self.outputs = outputs
        self.weights = (task_loss_weight, distillation_loss_weight)

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        task, divergence = self.terms(model, *self.split(batch))
        return task + divergence

    def split(self, batch: Batch) -> tuple[Batch, Batch, Any, Tensor | None]:
        """The model's inputs, the targets, the teacher's logits, and the positions that they are of."""
        inputs, targets = self.outputs.split_targets(batch)
        return inputs, targets, inputs.pop(TEACHER), inputs.pop(POSITION_MASK, None)

    def terms(
        self, model: Any, inputs: Batch, targets: Batch, teacher: Any, positions: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Both weighted terms of a pass: the task's loss, and the divergence from the teacher."""
        outputs = self.outputs(model, inputs).float()
        task_weight, distillation_weight = self.weights
        divergence = self.outputs.divergence(self.outputs.per_example(outputs, positions), teacher)
        return task_weight * self.outputs.loss(outputs, targets), distillation_weight * divergence


class AdjustableLoss(ProfileSampler):
    """Loss of the full model and of a profile at a speedup drawn anew for each batch.

    ``task loss (full) + task loss (profile) + divergence (full | teacher) + divergence (profile | teacher)``, the
    teacher being the plain fine-tuned model unless another is named. Its logits come with the examples in the column
    ``TEACHER``. Where ``outputs`` reads states too, they are part of the divergence.
    """

    def __init__(self, dial: Dial, config: AdjustConfig, outputs: Outputs = HEAD) -> None:
        super().__init__(dial, config)
        self.distilled = DistilledLoss(
            outputs, task_loss_weight=config.task_loss_weight, distillation_loss_weight=config.distillation_loss_weight
        )

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        inner, parts = unwrapped(model), self.distilled.split(batch)
        total = torch.zeros((), device=inner.device)
        for profile in self.passes():
            with at_profile(inner, profile):
                task, divergence = self.distilled.terms(model, *parts)
            total = total + task + divergence
        return total
