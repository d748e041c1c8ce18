"""Train a model for a goal, on transformers' Trainer, with checkpoints to go on from."""

import logging
import math
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
    Trainer,
    TrainerControl,
    TrainingArguments,
)

from latadj.config import StageConfig
from latadj.elimination.attach import at_speedup
from latadj.training.autocast_attention import AttentionInFloat32
from latadj.training.ema import FILE as MEAN
from latadj.training.ema import EMACallback
from latadj.training.epoch_order import FILE as ORDER
from latadj.training.epoch_order import Drawn, EpochOrder
from latadj.training.objective import TrainingObjective
from latadj.training.step_progress import StepProgressCallback
from latadj.training.trainer_checkpoints import has_ended, last_whole, state_of
from latadj.utils.files import readable_disk_errors

log = logging.getLogger("latadj")
BEST = "score"
# A training whose last validation takes away more than this share of what was wrong before it is short of its end.
UNFINISHED = 0.1


class LatadjTrainer(Trainer):
    """A Trainer whose loss and validation are a goal's.

    Parameters
    ----------
    speedups : where the dial stands in turn during validation; all of them together pick the best weights
    mean : of the weights, which is validated in their place
    order : of the rows in each epoch
    """

    def __init__(
        self,
        *,
        goal: TrainingObjective,
        order: EpochOrder,
        speedups: Sequence[float] = (),
        mean: EMACallback | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.goal, self.speedups, self.mean, self.order = goal, speedups, mean, order
        if goal.loss is not None:
            self.model_accepts_loss_kwargs = False  # our loss is a mean, so accumulated batches have to be averaged

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return Drawn(super()._get_train_sampler(train_dataset), self.order)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        with _attention(self.args):
            if self.goal.loss is None:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return self.goal.loss(model, inputs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        goal, model = self.goal, self.accelerator.unwrap_model(self.model)
        scores = {}
        with self.mean.in_place() if self.mean else nullcontext():
            if not self.speedups:
                scores[goal.metric] = goal.score(model)
            for speedup in self.speedups:
                with at_speedup(model, speedup):
                    scores[f"{goal.metric}_{speedup:g}x"] = goal.score(model)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        metrics[f"{metric_key_prefix}_{BEST}"] = goal.over(scores.values())
        self.log(metrics)
        control: TrainerControl = self.control  # type: ignore[has-type]  # set by an untyped base
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        log.info("epoch %.3g: validation %s", self.state.epoch or 0, shown)
        return metrics


def steps_of(config: StageConfig, examples: int) -> int:
    """Optimizer steps of a stage over so many training examples."""
    batches = -(-examples // config.batch_size)
    steps = math.ceil(-(-batches // config.accumulate) * config.epochs)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    goal: TrainingObjective,
    *,
    name: str,
    folder: Path,
    config: StageConfig,
    seed: int,
    bf16: bool,
    device: torch.device,
    resume: bool,
    speedups: Sequence[float] = (),
) -> dict[str, float]:
    """Train a model in place, and leave in it the weights, or their mean, of the best validation.

    Parameters
    ----------
    train : rows that the goal makes batches of; ``length`` of each
    folder : Trainer's checkpoints; ``resume`` goes on from the last whole one
    speedups : as in :class:`LatadjTrainer`

    Returns
    -------
    metrics of the best validation
    """
    steps = steps_of(config, len(train))
    when = "epoch" if config.eval_steps is None else "steps"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=-1 if config.max_steps is None else steps,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        warmup_steps=int(config.warmup * steps),
        weight_decay=config.weight_decay,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        eval_strategy=when,
        eval_steps=config.eval_steps,
        save_strategy=when,
        save_steps=config.eval_steps or 500,
        logging_strategy="epoch",
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=True,
        metric_for_best_model=BEST,
        greater_is_better=goal.greater_is_better,
        bf16=bf16,
        use_cpu=device.type == "cpu",
        seed=seed,
        report_to=[],
        disable_tqdm=True,
        label_names=["labels"],
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        # DataParallel's threads would see neither the profile nor modules of their own; several GPUs go through
        # `accelerate launch`, a process each.
        arguments._n_gpu = 1
    if config.gradient_checkpointing:
        _checkpoint_gradients(model, arguments)
    mean = EMACallback(model, config.ema_decay) if config.ema_decay else None
    order, shown = EpochOrder(), StepProgressCallback(name)
    stops = EarlyStoppingCallback(early_stopping_patience=config.patience)
    trainer = LatadjTrainer(
        goal=goal,
        order=order,
        speedups=speedups,
        mean=mean,
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=[],  # Trainer wants one; the goal validates on its own
        processing_class=tokenizer,
        data_collator=goal.collate,
        callbacks=[stops, order, *([mean] if mean else []), shown],
    )
    for callback in (PrinterCallback, StepProgressCallback):
        trainer.remove_callback(callback)
    last = last_whole(folder, [ORDER, *([MEAN] if mean else [])]) if resume else None
    ended = None
    if last is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        log.info("%s: going on from %s", name, last)
        state = state_of(last)
        ended = state if has_ended(state) else None
        order.load(last, inside=(state.epoch or 0) % 1 > 0)
        if mean:
            mean.load(last)
    with _own_forward(model):
        try:
            with readable_disk_errors(folder):
                if ended is not None:
                    trainer.state = ended
                    trainer._load_best_model()
                else:
                    trainer.train(resume_from_checkpoint=str(last) if last else None)
        finally:
            shown.close()
        if mean:
            if best := trainer.state.best_model_checkpoint:
                mean.load(Path(best))
            mean.settle()
        validations = [entry for entry in trainer.state.log_history if f"eval_{BEST}" in entry]
        scores = [entry[f"eval_{BEST}"] for entry in validations]
        if (gain := last_gain(scores, greater_is_better=goal.greater_is_better)) > UNFINISHED:
            log.warning(
                "%s ended while it gained: its last validation took away %.0f%% of what was wrong before; with more "
                "epochs it may gain more, and without them whatever trains this model further looks better than it is",
                *(name, 100 * gain),
            )
        for entry in validations:
            if entry["step"] == trainer.state.best_global_step:
                return {name: value for name, value in entry.items() if name.startswith("eval_")}
        return trainer.evaluate()


def last_gain(scores: Sequence[float], *, greater_is_better: bool) -> float:
    """Share of what was wrong at the best of the earlier validations that the last one took away; 0 where none did.

    What is wrong is what a metric lacks to 1, or the whole of one that is to be small.
    """
    if len(scores) < 2:
        return 0.0
    *earlier, last = scores
    before = max(earlier) if greater_is_better else min(earlier)
    wrong, gained = (1 - before, last - before) if greater_is_better else (before, before - last)
    return max(gained / wrong, 0.0) if wrong > 0 else 0.0


@contextmanager
def _own_forward(model: PreTrainedModel) -> Iterator[None]:
    """Take back what mixed precision puts around a model's forward.

    It would stay there for all who run the model later, a clock among them; and a model that is marked as prepared
    would be trained without it the next time, once somebody else has set its forward anew.
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
