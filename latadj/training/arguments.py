"""What transformers' Trainer is told of a stage."""

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from latadj.config import StageConfig
from latadj.training.trackers import Trackers

# The metric of a validation that picks the best weights.
BEST = "score"


def total_steps(config: StageConfig, examples: int) -> int:
    """Optimizer steps of a stage over so many training examples."""
    batches = -(-examples // config.batch_size)
    steps = math.ceil(-(-batches // config.accumulate) * config.epochs)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def trainer_arguments(
    config: StageConfig,
    steps: int,
    trackers: Trackers,
    *,
    output_dir: Path,
    greater_is_better: bool,
    bf16: bool,
    device: torch.device,
    seed: int,
) -> TrainingArguments:
    """The arguments of a stage's Trainer.

    Parameters
    ----------
    steps : of the optimizer, all in all
    greater_is_better : of two scores of a validation
    """
    when = "epoch" if config.eval_steps is None else "steps"
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=config.epochs,
        max_steps=-1 if config.max_steps is None else steps,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        # Several processes share each batch, so that the same options give the same steps in however many.
        accelerator_config={"split_batches": True},
        ddp_find_unused_parameters=True,  # a profile may leave whole layers out
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
        greater_is_better=greater_is_better,
        bf16=bf16,
        use_cpu=device.type == "cpu",
        seed=seed,
        report_to=list(trackers.names),
        run_name=trackers.run_name,
        disable_tqdm=True,
        label_names=["labels"],
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        # DataParallel's threads would see neither the profile nor modules of their own; several GPUs go through
        # `accelerate launch`, a process each.
        arguments._n_gpu = 1
    return arguments
