"""Fine-tuning on transformers' Trainer: plain, and adjustable along a dial."""

import logging
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from latadj.config import AdjustConfig, StageConfig, TaskConfig
from latadj.elimination.attach import at_profile, at_speedup
from latadj.elimination.profile import Dial, Profile
from latadj.files import read_json, readable_disk_errors
from latadj.outputs import LabelWords, Outputs
from latadj.predict import HEAD, predict
from latadj.report.console import Steps, progress
from latadj.tasks.encode import MODEL_INPUTS, rows_of
from latadj.tasks.metrics import metric_of, predictions_of

log = logging.getLogger("latadj")
BEST = "score"
TEACHER = "teacher_logits"


class LatadjTrainer(Trainer):
    """A Trainer whose validation is ours: the task's metric, at each of ``speedups``.

    Parameters
    ----------
    task : gives the metric
    speedups : where the dial stands in turn during validation; their mean picks the best epoch
    loss : (model, batch with labels) -> scalar loss; the model's own when left out
    outputs : how the model's answers are read
    """

    def __init__(
        self,
        *,
        task: TaskConfig,
        speedups: Sequence[float] = (),
        loss: Callable[[PreTrainedModel, dict[str, Tensor]], Tensor] | None = None,
        outputs: Outputs = HEAD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task, self.speedups, self.loss, self.outputs = task, speedups, loss, outputs

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.loss is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return self.loss(model, inputs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        model = self.accelerator.unwrap_model(self.model)
        rows, labels = rows_of(data), data["labels"]
        autocast = torch.bfloat16 if self.args.bf16 else None
        metric = metric_of(self.task.metric)

        def score() -> float:
            logits = predict(model, self.processing_class, rows, outputs=self.outputs, autocast=autocast)
            predictions = predictions_of(logits, not self.task.labels)
            return float(metric.compute(predictions=predictions, references=labels)[self.task.metric])

        if not self.speedups:
            scores = {self.task.metric: score()}
        else:
            scores = {}
            for speedup in self.speedups:
                with at_speedup(model, speedup):
                    scores[f"{self.task.metric}_{speedup:g}x"] = score()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        metrics[f"{metric_key_prefix}_{BEST}"] = sum(scores.values()) / len(scores)
        self.log(metrics)
        control: TrainerControl = self.control  # type: ignore[has-type]  # set by an untyped base
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        log.info("epoch %.3g: validation %s", self.state.epoch or 0, shown)
        return metrics


class LabelWordLoss:
    """Cross-entropy of the label words' scores: the task loss of a language model that is asked by a prompt."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def __call__(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        batch = dict(batch)
        labels = batch.pop("labels")
        return functional.cross_entropy(self.outputs(model, batch).float(), labels)


class AdjustableLoss:
    """Loss of the full model and of one cut model at a speedup drawn anew for each batch.

    ``task loss (full) + task loss (cut) + divergence (full | teacher) + divergence (cut | teacher)``, the teacher
    being the plain fine-tuned model. Its logits come with the examples in the column ``TEACHER``.
    """

    def __init__(self, dial: Dial, config: AdjustConfig, regression: bool, outputs: Outputs = HEAD) -> None:
        self.config, self.regression, self.outputs = config, regression, outputs
        self.dials = [dial.with_family(family) for family in config.families]
        self.full = Profile.full(dial.layers)

    def draw(self) -> Profile:
        """A profile of a random family at a random speedup; Trainer saves and restores Python's random state."""
        # Small speedups are asked for most and drawn more often. In steps of 0.1, so that a profile is solved for
        # once and then remembered.
        speedup = round(1.1 + (self.config.max_speedup - 1.1) * random.random() ** self.config.skew, 1)
        return random.choice(self.dials).profile(speedup)

    def __call__(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        batch = dict(batch)
        labels, wanted = batch.pop("labels"), batch.pop(TEACHER)
        inner = model.module if hasattr(model, "module") else model
        total = torch.zeros((), device=labels.device)
        for profile in (self.full, self.draw()):
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


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    validation: Dataset,
    *,
    name: str,
    folder: Path,
    task: TaskConfig,
    config: StageConfig,
    seed: int,
    bf16: bool,
    device: torch.device,
    resume: bool,
    outputs: Outputs = HEAD,
    speedups: Sequence[float] = (),
    loss: Callable[[Any, dict[str, Tensor]], Tensor] | None = None,
) -> dict[str, float]:
    """Train a model in place, and leave in it the weights of the best epoch.

    Parameters
    ----------
    folder : Trainer's checkpoints; ``resume`` goes on from the last whole one
    speedups, loss, outputs : as in :class:`LatadjTrainer`; label words have a loss of their own

    Returns
    -------
    validation metrics of the best epoch
    """
    steps = -(-len(train) // config.batch_size) * config.epochs
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        warmup_steps=int(config.warmup * steps),
        weight_decay=config.weight_decay,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=True,
        metric_for_best_model=BEST,
        greater_is_better=True,
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
    if loss is None and isinstance(outputs, LabelWords):
        loss = LabelWordLoss(outputs)
    shown = _Progress(name)
    trainer = LatadjTrainer(
        task=task,
        speedups=speedups,
        loss=loss,
        outputs=outputs,
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        data_collator=_ModelInputs(tokenizer),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=config.patience), shown],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    last = _last_whole_checkpoint(folder) if resume else None
    if last is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        log.info("%s: going on from %s", name, last)
    try:
        with readable_disk_errors(folder):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    finally:
        shown.close()
    return trainer.evaluate()


class _ModelInputs(DataCollatorWithPadding):
    """Pads a batch to its longest sequence; a column such as the length, which served the sampler, is left out."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        kept = (*MODEL_INPUTS, "labels", TEACHER)
        return super().__call__([{k: v for k, v in row.items() if k in kept} for row in features])


class _Progress(TrainerCallback):
    """Shows Trainer's steps as our progress."""

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


def _last_whole_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint whose state was written, which Trainer does after everything else."""
    found = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    while found:
        last = found.pop()
        try:
            read_json(last / "trainer_state.json", "Trainer state", "it is left out")
            return last
        except ValueError:
            log.warning("left out %s, which was cut short", last)
            shutil.rmtree(last)
    return None
