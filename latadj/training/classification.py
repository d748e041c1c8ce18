"""Training of classifiers and regressions, by a head or by the label words of a prompt."""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import AdjustConfig, TaskConfig
from latadj.elimination.attach import at_profile
from latadj.elimination.profile import Dial
from latadj.outputs import LabelWords, Outputs
from latadj.predict import HEAD, predict
from latadj.tasks.encode import MODEL_INPUTS, rows_of
from latadj.tasks.metrics import metric_of, predictions_of
from latadj.training.draw import AlongDial
from latadj.training.goal import Goal, Loss

TEACHER = "teacher_logits"


def classification_goal(
    tokenizer: PreTrainedTokenizerBase,
    validation: Dataset,
    task: TaskConfig,
    *,
    loss: Loss | None = None,
    outputs: Outputs = HEAD,
    autocast: torch.dtype | None = None,
) -> Goal:
    """What a classifier is trained for: the task's metric on the encoded validation split.

    Parameters
    ----------
    loss : the model's own when left out, or that of the label words
    outputs : how the model's answers are read
    autocast : type in which validation runs; None: the model's own
    """
    rows, labels = rows_of(validation), validation["labels"]
    metric = metric_of(task.metric)

    def score(model: PreTrainedModel) -> float:
        logits = predict(model, tokenizer, rows, outputs=outputs, autocast=autocast)
        predictions = predictions_of(logits, not task.labels)
        return float(metric.compute(predictions=predictions, references=labels)[task.metric])

    if loss is None and isinstance(outputs, LabelWords):
        loss = LabelWordLoss(outputs)
    return Goal(task.metric, score, _ModelInputs(tokenizer), loss)


class LabelWordLoss:
    """Cross-entropy of the label words' scores: the task loss of a language model that is asked by a prompt."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def __call__(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        batch = dict(batch)
        labels = batch.pop("labels")
        return functional.cross_entropy(self.outputs(model, batch).float(), labels)


class AdjustableLoss(AlongDial):
    """Loss of the full model and of one cut model at a speedup drawn anew for each batch.

    ``task loss (full) + task loss (cut) + divergence (full | teacher) + divergence (cut | teacher)``, the teacher
    being the plain fine-tuned model. Its logits come with the examples in the column ``TEACHER``.
    """

    def __init__(self, dial: Dial, config: AdjustConfig, regression: bool, outputs: Outputs = HEAD) -> None:
        super().__init__(dial, config)
        self.regression, self.outputs = regression, outputs

    def __call__(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        batch = dict(batch)
        labels, wanted = batch.pop("labels"), batch.pop(TEACHER)
        inner = model.module if hasattr(model, "module") else model
        total = torch.zeros((), device=labels.device)
        for profile in self.passes():
            with at_profile(inner, profile):
                logits = self.outputs(model, batch).float()
            total = total + self.config.task_weight * self._task(logits, labels)
            total = total + self.config.distill_weight * self._divergence(logits, wanted)
        return total

    def _task(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.regression:
            return functional.mse_loss(logits.squeeze(-1), labels.float())
        return functional.cross_entropy(logits, labels)

    def _divergence(self, logits: Tensor, wanted: Tensor) -> Tensor:
        if self.regression:
            return functional.mse_loss(logits, wanted)
        return functional.kl_div(logits.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="batchmean")


class _ModelInputs(DataCollatorWithPadding):
    """Pads a batch to its longest sequence; a column such as the length, which served the sampler, is left out."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        kept = (*MODEL_INPUTS, "labels", TEACHER)
        return super().__call__([{k: v for k, v in row.items() if k in kept} for row in features])
