"""Distillation of the state that a classifier reads, beside its logits: a vector says more of a text than they do."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of
from latadj.elimination.attach import attached, is_attached
from latadj.elimination.cost import POOLED
from latadj.tasks.encoding.batches import Batch
from latadj.tasks.outputs.logits import Outputs
from latadj.tasks.outputs.predict import HEAD
from latadj.tasks.outputs.scores import ScoreOutputs
from latadj.training.objective import unwrapped


class HeadStates(Outputs):
    """The logits of an encoder's classifier and, behind them, the state of the pooled position, which it reads.

    A call gives (batch, labels + width). The task's loss is that of the logits, and the divergence from a teacher's
    answers is theirs and ``weight`` times the squared distance of the states, as a share of the teacher's mean square.

    Parameters
    ----------
    labels : logits of the head
    head : how these are read, trained and compared
    """

    own_loss = False

    def __init__(self, labels: int, weight: float, head: Outputs = HEAD) -> None:
        self.labels, self.weight, self.head = labels, weight, head

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        inner, states = unwrapped(model), list[Tensor]()
        base = architecture_of(inner).base(inner)
        hook = base.register_forward_hook(lambda module, inputs, output: states.append(output[0][:, 0]))
        try:
            logits = self.head(model, batch)
        finally:
            hook.remove()
        return torch.cat([logits.float(), states[0].float()], dim=-1)

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        return self.head.loss(outputs[:, : self.labels], targets)

    def divergence(self, outputs: Any, target: Any) -> Tensor:
        states, taught = outputs[:, self.labels :], target[:, self.labels :]
        apart = functional.mse_loss(states, taught) / taught.square().mean()
        return self.head.divergence(outputs[:, : self.labels], target[:, : self.labels]) + self.weight * apart


def read_with_states(outputs: Outputs, student: PreTrainedModel, teacher: PreTrainedModel, weight: float) -> Outputs:
    """How a student and its teacher are read: with the states where both have them, as wide and of one position."""
    alike = student.config.hidden_size == teacher.config.hidden_size
    if type(outputs) not in (Outputs, ScoreOutputs) or not weight or not alike:
        return outputs
    pooled = all(
        is_attached(model) and attached(model).reads == POOLED and not architecture_of(model).causal
        for model in (student, teacher)
    )
    return HeadStates(student.config.num_labels, weight, outputs) if pooled else outputs
