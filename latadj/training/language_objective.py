"""Training of language models: the continuations of prompts are foretold, by the full model or by a cut one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.config import AdjustConfig, TaskConfig
from latadj.elimination.attach import at_profile, attached
from latadj.elimination.dial import Dial
from latadj.tasks.metrics.metric import metric_of
from latadj.tasks.outputs.likelihood import likelihoods
from latadj.training.continuations import STATES, Continuations, foreseen, unwrapped
from latadj.training.distillation import Teacher
from latadj.training.objective import Batch, Loss, TrainingObjective
from latadj.training.profile_sampler import ProfileSampler


def language_objective(
    model: PreTrainedModel,
    validation: Sequence[dict[str, Any]],
    task: TaskConfig,
    *,
    loss: Loss | None = None,
    autocast: torch.dtype | None = None,
) -> TrainingObjective:
    """What a language model is trained for: the perplexity of the validation split's continuations.

    Parameters
    ----------
    validation : rows with ``input_ids`` (the prompt) and ``continuation``
    loss : cross-entropy of the continuations when left out
    autocast : type in which validation runs; None: the model's own
    """
    metric = metric_of(task.metric)

    def score(model: PreTrainedModel) -> float:
        with torch.autocast(model.device.type, dtype=autocast, enabled=autocast is not None):
            found = likelihoods(model, validation, batch_size=task.batch_size)
        scores = metric.compute(predictions=found.nll, references=found.tokens)
        return float(scores[task.metric])

    return TrainingObjective(
        metric=task.metric,
        score=score,
        collate=Continuations(model.config.is_encoder_decoder),
        loss=loss or language_loss,
        greater_is_better=metric.greater_is_better,
    )


def language_loss(model: Any, batch: Batch) -> Tensor:
    """Mean cross-entropy of the continuations' tokens."""
    return functional.cross_entropy(foreseen(model, batch), batch["continuation"][batch["scored"]])


class AdjustableLanguageLoss(ProfileSampler):
    """Loss of the full model, of a cut one at a speedup drawn anew for each batch, or of both.

    ``task loss + divergence from the teacher's distribution`` of every continuation token, for each pass. A decoder's
    prompt is cut by the attached dial's score and window; its continuation is not.
    """

    def __init__(self, dial: Dial, config: AdjustConfig, teacher: Teacher) -> None:
        super().__init__(dial, config)
        self.teacher = teacher

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        inner, scored = unwrapped(model), batch["scored"]
        targets, wanted = batch["continuation"][scored], self.teacher.distributions(batch[STATES][scored])
        prompt = batch["prompt"].tolist() if attached(inner).architecture.causal else None
        total = wanted.new_zeros(())
        for profile in self.passes():
            with at_profile(inner, profile, prompt=prompt):
                found = foreseen(model, batch).log_softmax(-1)
            divergence = functional.kl_div(found, wanted, log_target=True, reduction="batchmean")
            total = total + self.config.task_loss_weight * functional.nll_loss(found, targets)
            total = total + self.config.distillation_loss_weight * divergence
        return total
