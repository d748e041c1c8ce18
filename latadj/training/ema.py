"""The exponential moving average (EMA) of a model's weights, which varies less than the weights do."""

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

from latadj.training.trainer_checkpoints import checkpoint_dir
from latadj.utils.files import atomic_write

FILE = "ema.safetensors"
# Steps from one update to the next: every one would read and write all weights a third time.
EVERY = 4


class EMACallback(TrainerCallback):
    """Updates the EMA of a model's weights while it is trained, and saves it with every checkpoint.

    Before the first update, after ``EVERY`` steps, there is no average, and the model's own weights stand for it.

    Parameters
    ----------
    model : whose trainable parameters are averaged, as they are before training
    decay : weight of the past after each step, from 0 to 1; smaller in the first updates
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.average = {name: weight.detach().clone() for name, weight in self._weights().items()}

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % EVERY:
            return
        self.updates += 1
        # Else the weights of the start would count for most of a short training.
        decay = min(self.decay**EVERY, (1 + self.updates) / (10 + self.updates))
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(list(self.average.values()), list(self._weights().values()), self.updates)

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        with atomic_write(checkpoint_dir(args, state) / FILE) as path:
            save_file(self.average, path, {"updates": str(self.updates)})

    def load(self, checkpoint: Path) -> None:
        """Load the average that was saved with a checkpoint."""
        with safe_open(checkpoint / FILE, "pt") as saved:
            self.updates = int(saved.metadata()["updates"])
            for name, average in self.average.items():
                average.copy_(saved.get_tensor(name))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with its averaged weights, inside a ``with`` block."""
        if not self.updates:
            yield
            return
        weights = self._weights()
        trained = {name: weight.detach().clone() for name, weight in weights.items()}
        _copy(self.average, weights)
        try:
            yield
        finally:
            _copy(trained, weights)

    def copy_to_model(self) -> None:
        """Give the model its averaged weights for good."""
        if self.updates:
            _copy(self.average, self._weights())

    def _weights(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, nn.Parameter]) -> None:
    for name, weight in target.items():
        weight.copy_(source[name])
