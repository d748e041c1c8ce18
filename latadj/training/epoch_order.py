"""The order of rows in an epoch, drawn again as it was when a training is resumed inside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState

from latadj.training.trainer_checkpoints import checkpoint_dir
from latadj.utils.files import atomic_write

FILE = "order.safetensors"


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
        self.rng_state = torch.get_rng_state()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.rng_state is None:
            raise TypeError("nothing is saved before an epoch has begun")
        with atomic_write(checkpoint_dir(args, state) / FILE) as path:
            save_file({"rng_state": self.rng_state}, path)

    def load(self, checkpoint: Path, *, inside: bool) -> None:
        """Resume from a checkpoint ``inside`` an epoch; at the end of one, the next is drawn as Trainer does."""
        self._replay = load_file(checkpoint / FILE)["rng_state"] if inside else None


class ReplayableSampler(Sampler[int]):
    """A sampler whose orders can be drawn again."""

    def __init__(self, sampler: Sampler[int], callback: EpochOrderCallback) -> None:
        self.sampler, self.callback = sampler, callback

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # those of Trainer have a length

    def __iter__(self) -> Iterator[int]:
        self.callback.before_draw()
        return iter(self.sampler)
