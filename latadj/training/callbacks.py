"""Callbacks of a training: EMA, order of an epoch, progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from latadj.devices import ranks
from latadj.training.trainer_checkpoints import check_tensors
from latadj.utils.console import Steps, progress
from latadj.utils.files import atomic_write

EMA_FILE = "ema.safetensors"
# Steps from one update to the next: every one would read and write all weights a third time.
EVERY = 4
ORDER_FILE = "order.safetensors"


def checkpoint_dir(args: Any, state: TrainerState) -> Path:
    """The folder of the checkpoint that Trainer has just saved, from the arguments of a callback's ``on_save``."""
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


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
        if not state.is_world_process_zero:
            return
        with atomic_write(checkpoint_dir(args, state) / EMA_FILE) as path:
            save_file(self.average, path, {"updates": str(self.updates)})

    def check(self, checkpoint: Path) -> None:
        """Refuse a checkpoint without an average of this model.

        Raises
        ------
        ValueError
        """
        check_tensors(checkpoint / EMA_FILE, self.average)
        with safe_open(checkpoint / EMA_FILE, "pt") as saved:
            updates = (saved.metadata() or {}).get("updates", "")
        if not updates.isdigit():
            raise ValueError(f"{EMA_FILE} does not say how often it was updated")

    def load(self, checkpoint: Path) -> None:
        """Load the average that was saved with a checkpoint."""
        with safe_open(checkpoint / EMA_FILE, "pt") as saved:
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


class EpochOrderCallback(TrainerCallback):
    """Saves with every checkpoint the state of the generator from which the order of the running epoch was drawn.

    Trainer draws it from torch's own generator. Resumed inside an epoch, it would skip as many batches of another
    order, so that some rows were seen twice and others never.
    """

    def __init__(self) -> None:
        self.rng_state: Tensor | None = None
        self._replay: Tensor | None = None

    def before_draw(self) -> None:
        """Called right before an order is drawn."""
        if self._replay is not None:
            torch.set_rng_state(self._replay)
            self._replay = None
        # Each process has drawn dropout for other texts since, and all need the same order to share its batches.
        self.rng_state = ranks.agreed(torch.get_rng_state())
        torch.set_rng_state(self.rng_state)

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.rng_state is None:
            raise TypeError("nothing is saved before an epoch has begun")
        if not state.is_world_process_zero:
            return
        with atomic_write(checkpoint_dir(args, state) / ORDER_FILE) as path:
            save_file({"rng_state": self.rng_state}, path)

    @staticmethod
    def check(checkpoint: Path) -> None:
        """Refuse a checkpoint without the state of a generator.

        Raises
        ------
        ValueError
        """
        check_tensors(checkpoint / ORDER_FILE, {"rng_state": torch.get_rng_state()})

    def load(self, checkpoint: Path, *, inside: bool) -> None:
        """Resume from a checkpoint ``inside`` an epoch; at the end of one, the next is drawn as Trainer does."""
        self._replay = load_file(checkpoint / ORDER_FILE)["rng_state"] if inside else None


class ReplayableSampler(Sampler[int]):
    """A sampler whose orders can be drawn again."""

    def __init__(self, sampler: Sampler[int], callback: EpochOrderCallback) -> None:
        self.sampler, self.callback = sampler, callback

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # those of Trainer have a length

    def __iter__(self) -> Iterator[int]:
        self.callback.before_draw()
        return iter(self.sampler)


class StepProgressCallback(TrainerCallback):
    """Shows the steps of a training that has a name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._context: Any = None
        self._steps: Steps | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._context = progress(self.name, state.max_steps)
        self._steps = self._context.__enter__()
        self._steps.start_at(state.global_step)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._steps:
            self._steps.advance(state.global_step - self._steps.done, f"epoch {state.epoch or 0:.1f}")

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the display; also when training ended early."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = None
