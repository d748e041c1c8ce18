"""Trainer's steps as our progress."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from latadj.utils.console import Steps, progress


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
