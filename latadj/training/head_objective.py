"""Training of models with a head, or of language models that answer by the label words of a prompt."""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import AdjustConfig
from latadj.elimination.attach import at_profile
from latadj.elimination.dial import Dial
from latadj.tasks.encoding.batches import rows_of
from latadj.tasks.encoding.collator import ASKED, TEACHER, Collator
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD, predict
from latadj.tasks.types import TaskType
from latadj.training.objective import Batch, Loss, TrainingObjective
from latadj.training.profile_sampler import ProfileSampler


def head_objective(
    kind: TaskType,
    tokenizer: PreTrainedTokenizerBase,
    examples: Dataset,
    encoded: Dataset,
    *,
    loss: Loss | None = None,
    outputs: Outputs = HEAD,
    autocast: torch.dtype | None = None,
) -> TrainingObjective:
    """What a head is trained for: the task's metric on the validation split.

    Parameters
    ----------
    examples, encoded : the validation split, as read and as encoded
    loss : when left out the model's own, or the task's that ``outputs`` says
    outputs : how the model's answers are read
    autocast : type in which validation runs; None: the model's own
    """
    rows = rows_of(encoded)

    def score(model: PreTrainedModel) -> float:
        answers = predict(model, tokenizer, rows, outputs=outputs, autocast=autocast)
        kind.tune_threshold(answers, encoded, examples)
        return kind.scores(kind.predictions(answers, encoded, examples), examples)[kind.task.metric]

    if loss is None and not outputs.own_loss:
        loss = TaskLoss(outputs)
    return TrainingObjective(kind.task.metric, score, Collator(tokenizer, outputs), loss)


class TaskLoss:
    """The task loss alone, where it is not the model's own: of label words, or of where an answer starts and ends."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        batch, targets = self.outputs.split_targets(batch)
        return self.outputs.loss(self.outputs(model, batch).float(), targets)


class DistilledLoss:
    """``task loss + divergence from the teacher``: what a model that lost some of its parts learns anew.

    The teacher's logits come with the examples in the column ``TEACHER``.
    """

    def __init__(
        self, outputs: Outputs, *, task_loss_weight: float = 1.0, distillation_loss_weight: float = 1.0
    ) -> None:
        self.outputs, self.task_loss_weight, self.distillation_loss_weight = (
            outputs,
            task_loss_weight,
            distillation_loss_weight,
        )

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        batch, targets = self.outputs.split_targets(batch)
        wanted, places = batch.pop(TEACHER), batch.pop(ASKED, None)
        task, divergence = self.terms(self.outputs(model, batch).float(), targets, wanted, places)
        return task + divergence

    def terms(self, found: Tensor, targets: Batch, wanted: Any, places: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both terms, weighted, of what a pass gave: the task's loss, and the divergence from the teacher."""
        task = self.task_loss_weight * self.outputs.loss(found, targets)
        divergence = self.outputs.divergence(self.outputs.per_example(found, places), wanted)
        return task, self.distillation_loss_weight * divergence


class AdjustableLoss(ProfileSampler):
    """Loss of the full model and of one cut model at a speedup drawn anew for each batch.

    ``task loss (full) + task loss (cut) + divergence (full | teacher) + divergence (cut | teacher)``, the teacher
    being the plain fine-tuned model where nobody names another. Its logits come with the examples in the column
    ``TEACHER``.
    """

    def __init__(self, dial: Dial, config: AdjustConfig, outputs: Outputs = HEAD) -> None:
        super().__init__(dial, config)
        self.outputs = outputs
        self.each = DistilledLoss(
            outputs, task_loss_weight=config.task_loss_weight, distillation_loss_weight=config.distillation_loss_weight
        )

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        batch, targets = self.outputs.split_targets(batch)
        wanted, places = batch.pop(TEACHER), batch.pop(ASKED, None)
        inner = model.module if hasattr(model, "module") else model
        total = torch.zeros((), device=inner.device)
        for profile in self.passes():
            with at_profile(inner, profile):
                found = self.outputs(model, batch).float()
            task, divergence = self.each.terms(found, targets, wanted, places)
            total = total + task + divergence
        return total
