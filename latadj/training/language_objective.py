"""Training of language models on the continuations of prompts, with the full model and with profiles."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.config import AdjustConfig, TaskConfig
from latadj.elimination.attach import at_profile, attached
from latadj.elimination.dial import Dial
from latadj.tasks.encoding.batches import Batch
from latadj.tasks.metrics.metric import metric_of
from latadj.tasks.outputs.likelihood import likelihoods
from latadj.training.continuations import STATES, Continuations, scored_logits, unwrapped
from latadj.training.distillation import TeacherHead
from latadj.training.objective import Loss, TrainingObjective
from latadj.training.profile_sampler import ProfileSampler


def language_objective(
    model: PreTrainedModel,
    validation: Sequence[dict[str, Any]],
    task: TaskConfig,
    *,
    loss: Loss | None = None,
    autocast: torch.dtype | None = None,
) -> TrainingObjective:
    """The objective of a language model: the perplexity of the validation split's continuations.

    Parameters
    ----------
    validation : rows with ``input_ids`` (the prompt) and ``continuation``
    loss : cross-entropy of the continuations when left out
    autocast : type in which validation runs; None: the model's own
    """
    metric = metric_of(task.metric)

    def score(model: PreTrainedModel) -> float:
        with torch.autocast(model.device.type, dtype=autocast, enabled=autocast is not None):
            scored = likelihoods(model, validation, batch_size=task.batch_size)
        return float(metric.compute(predictions=scored.nll, references=scored.tokens)[task.metric])

    return TrainingObjective(
        metric=task.metric,
        score=score,
        collate=Continuations(model.config.is_encoder_decoder),
        loss=loss or language_loss,
        greater_is_better=metric.greater_is_better,
    )


def language_loss(model: Any, batch: Batch) -> Tensor:
    """Mean cross-entropy of the continuations' tokens."""
    return functional.cross_entropy(scored_logits(model, batch), batch["continuation"][batch["scored"]])


class AdjustableLanguageLoss(ProfileSampler):
    """Loss of the full model, of a profile at a speedup drawn anew for each batch, or of both.

    ``task loss + divergence from the teacher's distribution`` of every continuation token, for each pass. A decoder's
    prompt is eliminated by the attached dial's score and window; its continuation is not.
    """

    def __init__(self, dial: Dial, config: AdjustConfig, teacher: TeacherHead) -> None:
        super().__init__(dial, config)
        self.teacher = teacher

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        inner, scored = unwrapped(model), batch["scored"]
        targets, teacher = batch["continuation"][scored], self.teacher.distributions(batch[STATES][scored])
        prompt = batch["prompt"].tolist() if attached(inner).architecture.causal else None
        total = teacher.new_zeros(())
        for profile in self.passes():
            with at_profile(inner, profile, prompt=prompt):
                student = scored_logits(model, batch).log_softmax(-1)
            divergence = functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
            total = total + self.config.task_loss_weight * functional.nll_loss(student, targets)
            total = total + self.config.distillation_loss_weight * divergence
        return total
