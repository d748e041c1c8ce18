"""What several commands need: device, splits, model, encoded examples."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils import logging as transformers_logging

from latadj.calibration.calibration_set import CalibrationSet, ClassificationSet, ContinuationSet
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import labels_of
from latadj.config import CalibrateConfig, CommandConfig, PruneConfig, RunConfig, TaskConfig
from latadj.devices import select as device
from latadj.elimination.attach import attach
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import max_input_length, rows_of, token_limit
from latadj.tasks.encoding.continuation_windows import context_length, cut
from latadj.tasks.outputs.logits import LabelWords, Outputs
from latadj.tasks.outputs.predict import predict
from latadj.tasks.prompts.prompt import Prompts
from latadj.tasks.types import TaskType, load_splits, task_type_of

log = logging.getLogger("latadj")
# Training examples that a calibration asks about where nobody says; prompts are long.
EXAMPLES = {"classification": 512, "generation": 24}
# A search asks them hundreds of times, so there are fewer of long texts: as many as have so many tokens together, but
# not so few that chance decides.
TOKENS, FEWEST = 32_000, 64
PROMPTS_AT_ONCE = 8
Config = TypeVar("Config", bound=CommandConfig)


@dataclass
class Session:
    """A loaded model and the examples it is asked about."""

    config: CommandConfig
    device: torch.device
    splits: Splits
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @cached_property
    def prompts(self) -> Prompts | None:
        """What makes prompts of the examples, with ``prompt=``."""
        if self.config.prompt is None:
            return None
        return Prompts(
            self.config.prompt,
            self.config.task,
            self.splits.train,
            self.tokenizer,
            context=max_input_length(self.model, self.tokenizer),
            encoder_decoder=self.model.config.is_encoder_decoder,
            seed=self.config.seed,
        )

    @cached_property
    def task_type(self) -> TaskType:
        """What the task asks of a head."""
        return task_type_of(self.config.task)

    @cached_property
    def outputs(self) -> Outputs:
        """How the model's answers are read."""
        if self.prompts is None:
            return self.task_type.outputs
        prior = rows_of(self.prompts.encode(self.prompts.prior)) if len(self.prompts.prior) else []
        return LabelWords(self.prompts.answers, prior)

    def check(self) -> None:
        """Refuse, before anything is written, a prompt or a task that does not fit the model.

        Raises
        ------
        ValueError
        """
        if self.prompts is None and self.config.task.type != "generation":
            self.task_type.check_fit(self.tokenizer, self.limit)

    def settle(self, model: PreTrainedModel) -> None:
        """Choose on the validation split what predictions depend on, with a model as it stands."""
        if self.prompts is None and self.task_type.settles:
            examples, encoded = self.splits.validation, self._validation
            answers = predict(model, self.tokenizer, encoded, outputs=self.outputs)
            self.task_type.settle(answers, encoded, examples)

    @cached_property
    def _validation(self) -> Dataset:
        return self.encoded(self.splits.validation)

    @property
    def training_dtype(self) -> torch.dtype | None:
        """The type under which the device trains, and so ranks models fast enough; None: their own."""
        return torch.bfloat16 if device.trains_in_bf16(self.config.device, self.device) else None

    @property
    def generates(self) -> bool:
        """Whether the model has its language-modelling head: for running text, or for prompts."""
        return head_of(self.config) == "generation"

    @property
    def batch(self) -> int:
        """Sequences that are served at a time, if the config does not say: a first token is waited for by one."""
        workload = getattr(self.config, "workload", None)
        wanted = workload.batch if workload else None
        return wanted or (1 if self.config.task.type == "generation" else self.config.task.batch_size)

    def questions(self, most: int | None, *, autocast: torch.dtype | None = None) -> CalibrationSet:
        """Training examples, at most so many of a seeded shuffle, that a calibration asks about.

        Parameters
        ----------
        most : None: ``EXAMPLES``, and of texts no more than have ``TOKENS`` together
        """
        named = most is not None
        most = most or EXAMPLES["generation" if self.generates else "classification"]
        train = self.splits.train.shuffle(seed=self.config.seed)
        if self.config.task.type == "generation":
            encoded = self.encoded(train).shuffle(seed=self.config.seed)
            rows = encoded.select(range(min(most, len(encoded)))).to_list()
            return ContinuationSet(rows, batch_size=self.config.task.batch_size, autocast=autocast)
        rows = rows_of(self.encoded(train.select(range(min(most, len(train))))))
        if not (named or self.generates):
            rows = rows[: enough([len(row["input_ids"]) for row in rows])]
        return ClassificationSet(
            rows,
            self.tokenizer,
            outputs=self.outputs,
            batch_size=PROMPTS_AT_ONCE if self.generates else 64,
            autocast=autocast,
        )

    @property
    def limit(self) -> int:
        """Tokens that an encoded example may have: what the task, the tokenizer and the model allow."""
        return self.prompts.limit if self.prompts else token_limit(self.model, self.tokenizer, self.config.task)

    def encoded(self, examples: Dataset, task: TaskConfig | None = None) -> Dataset:
        """The examples as token ids: texts, prompts with ``prompt=``, or prompts with continuations, cut to fit.

        Parameters
        ----------
        task : how running text is cut; None: as the config says
        """
        task = task or self.config.task
        if task.type == "generation":
            return cut(examples, self.tokenizer, task, context_length(self.model))
        if self.prompts is not None:
            return self.prompts.encode(examples)
        return self.task_type.encode(examples, self.tokenizer, self.limit)


def enough(lengths: Sequence[int]) -> int:
    """How many texts, of such lengths in tokens, are enough to be asked about many times: ``TOKENS`` together."""
    return max(int(np.searchsorted(np.cumsum(lengths), TOKENS, side="right")), FEWEST)


def set_up(config: CommandConfig) -> torch.device:
    """Seed, threads and quiet libraries; returns the device."""
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    set_seed(config.seed)
    if config.task.type != "generation":
        task_type_of(config.task).check()
    return device.choose(config.device)


def head_of(config: CommandConfig) -> str:
    """The head that the command's model is loaded with."""
    return config.task.type if config.prompt is None else "generation"


def with_examples(config: Config, known: list[str] | None = None, *, train: bool = True) -> tuple[Config, Splits]:
    """The command's examples, and its config with the labels that these have: from here on they are a list.

    Parameters
    ----------
    known, train : as in `latadj.tasks.types.load_splits`
    """
    splits = load_splits(config.task, known, train=train)
    labels = config.task.labels if splits.labels is None else splits.labels
    task = replace(config.task, labels=labels or [])
    if task.type != "generation":
        task_type_of(task).check()
    return replace(config, task=task), splits


def known_labels(config: CommandConfig, folder: Path) -> list[str] | None:
    """The labels that the outputs of a saved model stand for; None: nobody wrote them down, or it has none.

    Raises
    ------
    ValueError
        if the task has the same ones in another order.
    """
    known = None if head_of(config) == "generation" else labels_of(folder)
    asked, classifies = config.task.labels, head_of(config) == "classification"
    if asked and known and classifies:
        ours, theirs = ([name.casefold() for name in names] for names in (asked, known))
        if ours != theirs and sorted(ours) == sorted(theirs):
            raise ValueError(
                f"task.labels={asked}: the outputs of checkpoint {folder} stand for {known}; where the data "
                "names its labels, give them in that order"
            )
    return known


def open_checkpoint(config: CommandConfig, *, train: bool = False) -> Session:
    """Load the command's checkpoint, in fp32, and its task's examples.

    Parameters
    ----------
    train : whether training and validation examples are needed, though the command does not always need them
    """
    chosen = set_up(config)
    known, asked = known_labels(config, Path(config.checkpoint)), config.task.labels
    train = train or config.prompt is not None or isinstance(config, (CalibrateConfig, PruneConfig))
    config, splits = with_examples(config, known, train=train)
    model, tokenizer = load_for(config)
    if asked is None and known is None and head_of(config) == "classification":
        log.warning(
            "checkpoint %s names no labels: its outputs are taken for %s in this order; another: task.labels=[...]",
            config.checkpoint,
            ", ".join(config.task.labels or []),
        )
    session = Session(config, chosen, splits, model.to(chosen), tokenizer)
    session.check()
    return session


def load_for(config: CommandConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the command's checkpoint, in fp32, refusing one whose outputs do not fit the task."""
    head = head_of(config)
    model, tokenizer = checkpoint.load(config.checkpoint, head=head)
    if head != "generation" and model.config.num_labels != (width := task_type_of(config.task).width):
        raise ValueError(
            f"checkpoint {config.checkpoint} has {model.config.num_labels} outputs, "
            f"task={config.task.name} needs {width}: it is for another task"
        )
    return model, tokenizer


def open_pretrained(config: CommandConfig) -> Session:
    """Load a language model as it is, in fp32, with elimination attached, and its task's examples."""
    chosen = set_up(config)
    config, splits = with_examples(config)
    model, tokenizer = checkpoint.load_pretrained(config.model, head=head_of(config))
    session = Session(config, chosen, splits, attach(model).eval().to(chosen), tokenizer)
    session.check()
    return session


def as_dict(config: RunConfig) -> dict[str, Any]:
    """The composed config, for a result file."""
    return asdict(config)
