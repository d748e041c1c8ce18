"""The order of rows in an epoch, drawn once more as it was when a training goes on inside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState

from latadj.training.trainer_checkpoints import saved_now
from latadj.utils.files import atomic_write

FILE = "order.safetensors"


class EpochOrder(TrainerCallback):
    """Saves with every checkpoint where the generator stood when the order of the running epoch was drawn.

    Trainer draws it from torch's own generator. Going on inside an epoch, it would skip as many batches of another
    order, so that some rows were seen twice and others never.
    """

    def __init__(self) -> None:
        self.drawn: Tensor | None = None
        self._again: Tensor | None = None

    def draws(self) -> None:
        """To be called right before an order is drawn."""
        if self._again is not None:
            torch.set_rng_state(self._again)
            self._again = None
        self.drawn = torch.get_rng_state()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.drawn is None:
            raise TypeError("nothing is saved before an epoch has begun")
        with atomic_write(saved_now(args, state) / FILE) as path:
            save_file({"drawn": self.drawn}, path)

    def load(self, checkpoint: Path, *, inside: bool) -> None:
        """Go on from a checkpoint ``inside`` an epoch; at the end of one, the next is drawn as Trainer does."""
        self._again = load_file(checkpoint / FILE)["drawn"] if inside else None


class Drawn(Sampler[int]):
    """A sampler whose orders can be drawn once more."""

    def __init__(self, sampler: Sampler[int], order: EpochOrder) -> None:
        self.sampler, self.order = sampler, order

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # those of Trainer have a length

    def __iter__(self) -> Iterator[int]:
        self.order.draws()
        return iter(self.sampler)
