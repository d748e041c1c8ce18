"""The stages of fine-tuning."""

from dataclasses import dataclass
from typing import Any

from latadj.config.fields import NONE_OR_MORE, NOT_NEGATIVE, POSITIVE, SHARE, Rule, Section, as_list, at_least, option
from latadj.config.options.task import EMBEDDING
from latadj.elimination.profiles import PROFILE_TYPES

ADJUSTABLE = tuple(name for name in PROFILE_TYPES if name != "searched")
DROPOUT = Rule("a share from 0 to below 1", lambda value: 0 <= value < 1)
WARMUP = Rule("a share of the steps, from 0 to 1", lambda value: 0 <= value <= 1)
PATIENCE = Rule("at least 1 validation without a better metric", lambda value: value >= 1)
DECAY = Rule("a share from 0 (no mean) to below 1, such as 0.99", lambda value: 0 <= value < 1)
PROFILES = Rule(
    f"some of {', '.join(ADJUSTABLE)}", lambda names: bool(names) and set(names) <= set(ADJUSTABLE), ADJUSTABLE
)

AXES = ("tokens", "width")
AXIS_NAMES = Rule(f"some of {', '.join(AXES)}", lambda names: bool(names) and set(names) <= set(AXES), AXES)
WIDTHS = Rule("shares above 0 and below 1, such as [0.75,0.5]", lambda shares: all(0 < share < 1 for share in shares))


TRACKERS = ("tensorboard", "wandb", "mlflow")


def _trackers(value: Any) -> Any:
    """One tracker or several as a list; ``none`` is none of them."""
    return [] if value in (None, "none") else as_list(value)


def report_option(
    help: str = "where training losses and scores go besides the log, through transformers' Trainer",
) -> Any:
    """The option that says where a command reports besides the log."""
    known = Rule(f"some of {', '.join(TRACKERS)}, or none", lambda names: all(name in TRACKERS for name in names))
    return option(
        [],
        help,
        known,
        parse=_trackers,
        type="none | tensorboard | wandb | mlflow, or a list",
    )


@dataclass
class StageConfig(Section):
    """One stage of fine-tuning."""

    epochs: float = option(3, "passes over the training split; 0 leaves the stage out", NOT_NEGATIVE)
    max_steps: int | None = option(None, "most optimizer steps, whatever the epochs; null: no limit", at_least(1))
    learning_rate: float = option(5e-5, "peak learning rate", POSITIVE)
    batch_size: int = option(32, "examples a batch", POSITIVE)
    accumulate: int = option(1, "batches whose gradients are summed for one step", at_least(1))
    gradient_checkpointing: bool = option(False, "recompute activations: less memory, a third more time")
    eval_steps: int | None = option(None, "steps between two validations; null: an epoch", at_least(1))
    eval_examples: int | None = option(
        None, "most validation examples of running text, scored at every speedup; null: all", at_least(1)
    )
    prompt_length: int | None = option(
        None, "tokens of a training prompt of running text; null: task.prompt_length", at_least(1)
    )
    continuation_length: int | None = option(
        None, "tokens of a training continuation, more teach more a pass; null: task.continuation_length", at_least(1)
    )
    windows: int | None = option(None, "most training examples of one document; null: task.windows", at_least(1))
    stride: int | None = option(
        None, "tokens between the starts of two training examples; null: task.stride", at_least(1)
    )
    attention_dropout: float | None = option(
        0.0, "dropout of attention probabilities; above 0 CPUs lack a fused kernel; null: the model's", DROPOUT
    )
    warmup: float = option(0.1, "share of the steps in which the learning rate rises", WARMUP)
    weight_decay: float = option(0.01, "AdamW's weight decay", NONE_OR_MORE)
    ema_decay: float = option(0.0, "decay of the EMA of weights, which is validated and saved; 0: no EMA", DECAY)
    patience: int = option(2, "validations without a better metric before the stage stops", PATIENCE)

    def cuts(self) -> dict[str, Any]:
        """How running text is cut for training, where it is not as the task says."""
        names = ("prompt_length", "continuation_length", "windows", "stride")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass
class DistillationConfig(StageConfig):
    """A stage with a teacher."""

    teacher: str | None = option(
        None, "folder of a fine-tuned model that teaches, without elimination; null: the model before this stage"
    )
    task_loss_weight: float = option(1.0, "weight of the loss on the labels", NOT_NEGATIVE)
    distillation_loss_weight: float = option(1.0, "weight of the divergence from the teacher", NOT_NEGATIVE)
    word_dropout_copies: int = option(
        0, "copies of each training text with some words left out; an epoch is that much longer", NOT_NEGATIVE
    )

    def problems_for(self, task_type: str) -> list[str]:
        """What a stage with a teacher cannot do for a task of this type."""
        if self.word_dropout_copies <= 0 or task_type in ("classification", EMBEDDING):
            return []
        return [
            f"word_dropout_copies={self.word_dropout_copies}: only texts with one label each can lose words; expected 0"
        ]


@dataclass
class AdjustConfig(DistillationConfig):
    """Adjustable fine-tuning: the model learns at speedups drawn along the dial."""

    epochs: float = option(3, "passes over the training split", POSITIVE)
    full_share: float | None = option(
        None,
        "share of the batches through the full model, the others through a pruned one; null: each through both",
        SHARE,
    )
    state_loss_weight: float = option(
        1.0,
        "weight of the squared distance from the state that the teacher's head reads; encoders with a classifier only",
        NOT_NEGATIVE,
    )
    matryoshka: list[int] = option(
        [],
        "embeddings: their first so many numbers are taught too, as [256,128]; empty: those that are read, if not all",
        Rule("numbers of at least 1, such as [256,128]", lambda sizes: all(size >= 1 for size in sizes)),
        parse=as_list,
    )
    max_speedup: float = option(
        5.0, "largest speedup, from 1.1 to calibration.max_speedup; drawn in FLOPs, up to twice as large with width"
    )
    speedup_sampling_power: float = option(1.5, "above 1 draws small speedups more often; 1: all alike")
    dropout: float = option(0.0, "dropout of the hidden state", DROPOUT)
    profiles: list[str] = option(["geometric", "acc"], "profile types, one drawn for each batch", PROFILES)
    axes: list[str] = option(
        ["tokens"], "what a faster setting leaves out: tokens, width (attention heads and neurons), or both", AXIS_NAMES
    )
    widths: list[float] = option(
        [0.75, 0.5, 0.33, 0.25, 0.17], "with axes=[width]: shares of a layer's heads and neurons that are drawn", WIDTHS
    )

    @property
    def narrows(self) -> bool:
        """Whether levels are trained."""
        return "width" in self.axes

    def problems_for(self, task_type: str) -> list[str]:
        problems = super().problems_for(task_type)
        if task_type == EMBEDDING and self.task_loss_weight:
            problems.append(
                f"task_loss_weight={self.task_loss_weight:g}: embeddings have no labels to learn from; expected 0"
            )
        if task_type != EMBEDDING and self.matryoshka:
            problems.append(f"matryoshka={self.matryoshka}: it teaches beginnings of embeddings; leave it out")
        return problems

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.narrows and not self.widths:
            problems.append("widths=[]: expected at least one share of a layer with axes=[width]")
        return problems


@dataclass
class RecoverConfig(DistillationConfig):
    """Fine-tuning of a pruned model, with the full one as its teacher."""

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.task_loss_weight == self.distillation_loss_weight == 0:
            problems.append(
                "task_loss_weight=0 with recover.distillation_loss_weight=0: there is nothing to learn from"
            )
        return problems
