"""The running mean of a model's weights over the steps of its training, which wavers less than the weights do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback, TrainerControl, TrainerState

from latadj.training.trainer_checkpoints import saved_now
from latadj.utils.files import atomic_write

FILE = "mean.safetensors"
# Steps from one update to the next: every one would read and write all weights a third time.
EVERY = 4


class EMACallback(TrainerCallback):
    """An exponential mean of a model's weights, kept up while it is trained and saved with every checkpoint.

    Before the first update, after ``EVERY`` steps, there is no mean, and the model's own weights stand for it.

    Parameters
    ----------
    model : whose trainable parameters are averaged; they are those of the start
    decay : what an earlier weight counts for after each step, from 0 to 1; early means are shorter
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.mean = {name: weight.detach().clone() for name, weight in self._weights().items()}

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % EVERY:
            return
        self.updates += 1
        # Else the weights of the start would count for most of a short training.
        decay = min(self.decay**EVERY, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self.mean.values()), list(self._weights().values()), self.updates)

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        with atomic_write(saved_now(args, state) / FILE) as path:
            save_file(self.mean, path, {"updates": str(self.updates)})

    def load(self, checkpoint: Path) -> None:
        """Go on from the mean that was saved with a checkpoint."""
        with safe_open(checkpoint / FILE, "pt") as saved:
            self.updates = int(saved.metadata()["updates"])
            for name, mean in self.mean.items():
                mean.copy_(saved.get_tensor(name))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the mean for its weights, inside a ``with`` block."""
        if not self.updates:
            yield
            return
        weights = self._weights()
        own = {name: weight.detach().clone() for name, weight in weights.items()}
        _copy(self.mean, weights)
        try:
            yield
        finally:
            _copy(own, weights)

    def settle(self) -> None:
        """Leave the mean in the model."""
        if self.updates:
            _copy(self.mean, self._weights())

    def _weights(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, nn.Parameter]) -> None:
    for name, weight in target.items():
        weight.copy_(source[name])
