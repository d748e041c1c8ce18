"""Train a model for an objective with transformers' Trainer, resumable from checkpoints."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

import latadj.checkpoints.attached_model  # noqa: F401  what Trainer saves of an attached model keeps its dial
from latadj.config import StageConfig
from latadj.devices import ranks
from latadj.devices.autocast_attention import AttentionInFloat32
from latadj.elimination.current_setting import at_speedup
from latadj.training.arguments import BEST, total_steps, trainer_arguments
from latadj.training.callbacks import (
    EMACallback,
    EpochOrderCallback,
    ReplayableSampler,
    StepProgressCallback,
)
from latadj.training.objective import TrainingObjective
from latadj.training.one_forward import one_forward
from latadj.training.trackers import Trackers
from latadj.training.trainer_checkpoints import has_ended, last_whole_checkpoint, load_trainer_state
from latadj.utils.files import readable_disk_errors

log = logging.getLogger("latadj")
# A training whose last validation cuts the error by more than this share has not converged.
UNFINISHED = 0.1
NO_TRACKERS = Trackers()


class LatadjTrainer(Trainer):
    """A Trainer with the loss and validation of a training objective.

    Parameters
    ----------
    speedups : at which the model is validated in turn; the mean score picks the best weights
    ema : its averaged weights are validated instead of the model's own
    order : replays the order of the rows in an epoch
    """

    def __init__(
        self,
        *,
        objective: TrainingObjective,
        order: EpochOrderCallback,
        speedups: Sequence[float] = (),
        ema: EMACallback | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.objective, self.speedups, self.ema, self.order = objective, speedups, ema, order
        if objective.loss is not None or ranks.size() > 1:
            # The loss is a mean, so accumulated batches, and those of several processes, have to be averaged. Of a
            # model's own Trainer believes that it is a share of the sum over all processes, also where it is not.
            self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return ReplayableSampler(super()._get_train_sampler(train_dataset), self.order)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        with _attention(self.args):
            if self.objective.loss is None:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return one_forward(model, self.objective.loss, inputs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)
        # On a GPU a look at each loss would make the host wait for it.
        if (loss.device.type == "cpu" or self.state.global_step % 10 == 0) and not bool(loss.isfinite()):
            raise ValueError(
                f"the training loss is {loss.item()} after {self.state.global_step} steps: the learning rate "
                f"{self.args.learning_rate:g} may be too large, or a text or label is broken; try a tenth of it"
            )
        return loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        objective, model = self.objective, self.accelerator.unwrap_model(self.model)
        scores = {}
        with self.ema.applied() if self.ema else nullcontext():
            if not self.speedups:
                scores[objective.metric] = objective.score(model)
            for speedup in self.speedups:
                with at_speedup(model, speedup):
                    scores[f"{objective.metric}_{speedup:g}x"] = objective.score(model)
        scores = ranks.agreed(scores)  # the best weights are chosen by them, and when a training ends
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        metrics[f"{metric_key_prefix}_{BEST}"] = objective.mean_score(scores.values())
        self.log(metrics)
        control: TrainerControl = self.control  # type: ignore[has-type]  # set by an untyped base
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        log.info("epoch %.3g: validation %s", self.state.epoch or 0, shown)
        return metrics


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_dataset: Dataset,
    objective: TrainingObjective,
    *,
    name: str,
    output_dir: Path,
    config: StageConfig,
    seed: int,
    bf16: bool,
    device: torch.device,
    resume: bool,
    speedups: Sequence[float] = (),
    trackers: Trackers = NO_TRACKERS,
) -> dict[str, float]:
    """Train a model in place, and leave in it the weights, or their EMA, of the best validation.

    Parameters
    ----------
    train_dataset : rows that the objective collates; ``length`` of each
    output_dir : Trainer's checkpoints; ``resume`` continues from the last complete one
    speedups : as in :class:`LatadjTrainer`
    trackers : where Trainer reports besides the log

    Returns
    -------
    metrics of the best validation
    """
    steps = total_steps(config, len(train_dataset))
    arguments = trainer_arguments(
        config,
        steps,
        trackers,
        output_dir=output_dir,
        greater_is_better=objective.greater_is_better,
        bf16=bf16,
        device=device,
        seed=seed,
    )
    if config.gradient_checkpointing:
        _checkpoint_gradients(model, arguments)
    ema = EMACallback(model, config.ema_decay) if config.ema_decay else None
    order, shown = EpochOrderCallback(), StepProgressCallback(name)
    stops = EarlyStoppingCallback(early_stopping_patience=config.patience)
    with trackers.stage(name):
        trainer = LatadjTrainer(
            objective=objective,
            order=order,
            speedups=speedups,
            ema=ema,
            model=model,
            args=arguments,
            train_dataset=train_dataset,
            eval_dataset=[],  # Trainer wants one; the objective has its own
            processing_class=tokenizer,
            data_collator=objective.collate,
            callbacks=[stops, order, *([ema] if ema else []), shown],
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        last, ended = _resumed(trainer, name, resume)
        with _own_forward(model):
            try:
                with readable_disk_errors(output_dir):
                    if ended is not None:
                        trainer.state = ended
                        trainer._load_best_model()
                    else:
                        trainer.train(resume_from_checkpoint=str(last) if last else None)
            finally:
                shown.close()
            best = _best(trainer, name)
        ranks.gathered(None)  # whoever is the first to go on may remove the checkpoints that all have read
        return best


def _resumed(trainer: LatadjTrainer, name: str, resume: bool) -> tuple[Path | None, TrainerState | None]:
    """The checkpoint to go on from, or None, and the state of a training that has ended already, or None."""
    output_dir, model, order, ema = Path(trainer.args.output_dir), trainer.model, trainer.order, trainer.ema
    checks = [order.check, *([ema.check] if ema else [])]

    def begin() -> tuple[Path | None, TrainerState | None]:
        last = last_whole_checkpoint(output_dir, model, *checks) if resume else None
        if last is not None:
            log.info("%s: going on from %s", name, last)
            return last, load_trainer_state(last, model, *checks[1:])
        if not resume:
            shutil.rmtree(output_dir, ignore_errors=True)
        elif any(output_dir.glob("damaged-*")):
            log.warning("%s: no checkpoint in %s is whole, so it begins anew", name, output_dir)
        return None, None

    last, state = ranks.on_first(begin)
    if last is None or state is None:
        return None, None
    order.load(last, inside=(state.epoch or 0) % 1 > 0)
    if ema:
        ema.load(last)
    return last, state if has_ended(state) else None


def _best(trainer: LatadjTrainer, name: str) -> dict[str, float]:
    """Metrics of the best validation, whose weights, or their EMA, the model gets."""
    state, better = trainer.state, trainer.objective.greater_is_better
    if trainer.ema:
        if best := state.best_model_checkpoint:
            trainer.ema.load(Path(best))
        trainer.ema.copy_to_model()
    validations = [entry for entry in state.log_history if f"eval_{BEST}" in entry]
    scores = [entry[f"eval_{BEST}"] for entry in validations]
    if (gain := last_gain(scores, greater_is_better=better)) > UNFINISHED:
        log.warning(
            "%s ended while it gained: its last validation took away %.0f%% of what was wrong before; with more "
            "epochs it may gain more, and without them whatever trains this model further looks better than it is",
            *(name, 100 * gain),
        )
    for entry in validations:
        if entry["step"] == state.best_global_step:
            return {key: value for key, value in entry.items() if key.startswith("eval_")}
    return trainer.evaluate()


def last_gain(scores: Sequence[float], *, greater_is_better: bool) -> float:
    """Share of the error at the best of the earlier validations that the last one removed; 0 where it removed none.

    The error is what a metric lacks to 1, or the whole of one that is to be small.
    """
    if len(scores) < 2:
        return 0.0
    *earlier, last = scores
    before = max(earlier) if greater_is_better else min(earlier)
    wrong, gained = (1 - before, last - before) if greater_is_better else (before, before - last)
    return max(gained / wrong, 0.0) if wrong > 0 else 0.0


@contextmanager
def _own_forward(model: PreTrainedModel) -> Iterator[None]:
    """Remove the wrapper that mixed precision puts around a model's forward.

    It would stay there for all who run the model later, a clock among them; and a model that is marked as prepared
    would be trained without it the next time, once its forward was set anew.
    """
    before = model.__dict__.get("forward")
    try:
        yield
    finally:
        for left in ("_original_forward", "_is_accelerate_prepared"):
            model.__dict__.pop(left, None)
        if before is not None:
            model.__dict__["forward"] = before
        else:
            model.__dict__.pop("forward", None)


def _attention(arguments: TrainingArguments) -> AbstractContextManager[Any]:
    """What a pass with gradients runs inside."""
    return AttentionInFloat32() if arguments.bf16 and arguments.device.type == "cpu" else nullcontext()


def _checkpoint_gradients(model: PreTrainedModel, arguments: TrainingArguments) -> None:
    """Keep the states between layers only, and run each layer again during backward."""
    # Of the releases of transformers that we allow, older ones know the second name only.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False, "context_fn": lambda: (nullcontext(), _attention(arguments))})
