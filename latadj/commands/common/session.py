"""What several commands need: device, splits, model, examples."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.calibration.calibration_set import CalibrationSet, ClassificationSet, ContinuationSet
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, check, labels_of
from latadj.commands.common.opening import begin
from latadj.config import CalibrateConfig, CommandConfig, PruneConfig, TaskConfig
from latadj.devices import device
from latadj.devices.precision_probe import trains_in_bf16
from latadj.elimination.attach import attach
from latadj.elimination.sentence_transformer import pipeline_of
from latadj.tasks.data.splits import Splits
from latadj.tasks.encoding.batches import max_input_length, rows_of, token_limit
from latadj.tasks.outputs.embeddings import EmbeddingOutputs, require_dimensions
from latadj.tasks.outputs.logits import LabelWords, Outputs
from latadj.tasks.outputs.predict import predict
from latadj.tasks.prompts import Prompts
from latadj.tasks.types import TaskType, task_type_of
from latadj.tasks.types.classification import Classification
from latadj.tasks.types.embedding import with_prompts

log = logging.getLogger("latadj")
# Training examples of a calibration by default: texts, and prompts, which are long.
TEXTS, PROMPTS = 512, 24
# A search runs them hundreds of times, so long texts are fewer: as many as have so many tokens together, but not so
# few that chance decides.
TOKENS, FEWEST = 32_000, 64
TEXTS_AT_ONCE, PROMPTS_AT_ONCE = 64, 8
Config = TypeVar("Config", bound=CommandConfig)


@dataclass
class Session:
    """A loaded model, its task's examples, and the metadata of the checkpoint that it comes from."""

    config: CommandConfig
    device: torch.device
    splits: Splits
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    metadata: CheckpointMetadata = field(default_factory=CheckpointMetadata)

    @cached_property
    def prompts(self) -> Prompts | None:
        """Makes prompts of the examples, with ``prompt=``."""
        if self.config.prompt is None:
            return None
        return Prompts(
            self.config.prompt,
            self.config.task,
            self.splits.train,
            self.tokenizer,
            context=max_input_length(self.model.config, self.tokenizer),
            encoder_decoder=self.model.config.is_encoder_decoder,
            seed=self.config.seed,
        )

    @cached_property
    def task_type(self) -> TaskType:
        """What the task asks of a model."""
        return task_type_of(self._prompted(self.config.task))

    def _prompted(self, task: TaskConfig) -> TaskConfig:
        """The task with the prompts that ``encode`` of the session's model would put before its texts."""
        pipeline = pipeline_of(self.model)
        return task if pipeline is None else with_prompts(task, pipeline)

    @cached_property
    def outputs(self) -> Outputs:
        """How the model's outputs are read."""
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
        if self.prompts is None:
            self.task_type.check_fit(self.tokenizer, self.limit)
        if isinstance(self.outputs, EmbeddingOutputs) and self.outputs.dimensions is not None:
            require_dimensions(self.model, "task.dimensions", [self.outputs.dimensions])

    def tune_threshold(self, model: PreTrainedModel) -> None:
        """Choose on the validation split the threshold that predictions depend on, for a model at its speedup."""
        if self.prompts is None and self.task_type.tunes_threshold:
            examples, encoded = self.splits.validation, self._validation
            answers = predict(model, self.tokenizer, encoded, outputs=self.outputs)
            self.task_type.tune_threshold(answers, encoded, examples)

    def with_references(self, examples: Dataset, full: PreTrainedModel) -> Dataset:
        """The examples; where a task's right answers are the full model's, with these."""
        if not self.task_type.refers_to_full_model:
            return examples
        answers = predict(full, self.tokenizer, self.encoded(examples), outputs=self.outputs)
        return self.task_type.with_references(examples, answers)

    @cached_property
    def _validation(self) -> Dataset:
        return self.encoded(self.splits.validation)

    @property
    def training_dtype(self) -> torch.dtype | None:
        """The autocast type in which this device trains, and ranks models fast enough; None: the models' own."""
        return torch.bfloat16 if trains_in_bf16(self.config.device, self.device) else None

    @property
    def generates(self) -> bool:
        """Whether the model has its language-modelling head: for running text, or for prompts."""
        return self.config.generates

    @property
    def batch(self) -> int:
        """Sequences that are served at a time."""
        workload = getattr(self.config, "workload", None)
        return (workload.batch if workload else None) or self.task_type.default_batch

    def calibration_set(
        self, examples: int | None, *, autocast: torch.dtype | None = None, unseen: bool = False
    ) -> CalibrationSet:
        """Training examples for a calibration, of a seeded shuffle.

        Parameters
        ----------
        examples : at most so many; None: ``TEXTS`` or ``PROMPTS``, and no more texts than have ``TOKENS`` together
        unseen : validation examples instead. A model knows its training texts nearly by heart, so that it still answers
            them as before when so much is cut that it fails on others
        """
        count = examples or (PROMPTS if self.generates else TEXTS)
        chosen = self._shuffled(unseen)
        if self.task_type.scores_continuations:
            encoded = self.encoded(chosen).shuffle(seed=self.config.seed)
            rows = encoded.select(range(min(count, len(encoded)))).to_list()
            return ContinuationSet(rows=rows, batch_size=self.config.task.batch_size, autocast=autocast)
        rows = rows_of(self.encoded(chosen.select(range(min(count, len(chosen))))))
        if examples is None and not self.generates:
            rows = rows[: enough([len(row["input_ids"]) for row in rows])]
        return ClassificationSet(
            rows=rows,
            tokenizer=self.tokenizer,
            reader=self.outputs,
            batch_size=PROMPTS_AT_ONCE if self.generates else TEXTS_AT_ONCE,
            autocast=autocast,
        )

    def short_set(self, examples: CalibrationSet) -> CalibrationSet | None:
        """As many unseen examples, cut to a few words, for a search; None where a task's cannot be cut so."""
        if self.prompts is not None or not isinstance(examples, ClassificationSet):
            return None
        chosen = self._shuffled(unseen=True)
        short = self.task_type.shortened(chosen.select(range(min(len(examples.rows), len(chosen)))))
        return None if short is None else replace(examples, rows=rows_of(self.encoded(short)))

    def _shuffled(self, unseen: bool) -> Dataset:
        """Training examples, or validation examples, with training ones after them where they are few."""
        train = self.splits.train.shuffle(seed=self.config.seed)
        if not unseen:
            return train
        validation = self.splits.validation.shuffle(seed=self.config.seed)
        return validation if len(validation) >= FEWEST else concatenate_datasets([validation, train])

    @property
    def limit(self) -> int:
        """Tokens that a text or a prompt may have: what the task, the tokenizer and the model allow."""
        return self.prompts.limit if self.prompts else token_limit(self.model, self.tokenizer, self.config.task)

    def encoded(self, examples: Dataset, task: TaskConfig | None = None) -> Dataset:
        """The examples as token ids: texts, prompts with ``prompt=``, or prompts with continuations, cut to fit.

        Parameters
        ----------
        task : how running text is cut; None: the config's own
        """
        if self.prompts is not None:
            return self.prompts.encode(examples)
        task_type = self.task_type if task is None else task_type_of(self._prompted(task))
        return task_type.encode(examples, self.tokenizer, task_type.limit(self.model, self.tokenizer))


def enough(lengths: Sequence[int]) -> int:
    """How many texts, of such lengths in tokens, have ``TOKENS`` together; at least ``FEWEST``."""
    return max(int(np.searchsorted(np.cumsum(lengths), TOKENS, side="right")), FEWEST)


def set_up(config: CommandConfig) -> torch.device:
    """Seed, threads and quiet libraries; returns the device."""
    disable_progress_bars()
    begin(config)
    task_type_of(config.task).check()
    return device.choose(config.device)


def with_examples(config: Config, known: list[str] | None = None, *, train: bool = True) -> tuple[Config, Splits]:
    """The command's examples, and its config with their labels: from here on they are a list.

    Parameters
    ----------
    known, train : as in `latadj.tasks.types.base.TaskType.load`
    """
    splits = task_type_of(config.task).load(known, train=train)
    labels = config.task.labels if splits.labels is None else splits.labels
    task = replace(config.task, labels=labels or [])
    task_type_of(task).check()
    return replace(config, task=task), splits


def known_labels(config: CommandConfig, folder: Path, metadata: CheckpointMetadata) -> list[str] | None:
    """The labels of a saved model's outputs; None: nobody wrote them down, or it has none.

    Raises
    ------
    ValueError
        if the task has the same ones in another order.
    """
    known = None if config.generates else labels_of(folder, metadata)
    labels = config.task.labels
    if labels and known and config.head == Classification.name:
        folded, folded_known = ([name.casefold() for name in names] for names in (labels, known))
        if folded != folded_known and sorted(folded) == sorted(folded_known):
            raise ValueError(
                f"task.labels={labels}: the outputs of checkpoint {folder} stand for {known}; where the data "
                "names its labels, give them in that order"
            )
    return known


def open_checkpoint(
    config: CommandConfig, metadata: CheckpointMetadata | None = None, *, train: bool = False
) -> Session:
    """Load the command's checkpoint, in fp32, and its task's examples.

    Parameters
    ----------
    metadata : of the checkpoint, if they have been read already
    train : whether training and validation examples are needed, though the command does not always need them
    """
    chosen, folder = set_up(config), Path(config.checkpoint)
    metadata = check(folder) if metadata is None else metadata
    known, labels = known_labels(config, folder, metadata), config.task.labels
    train = train or config.prompt is not None or isinstance(config, (CalibrateConfig, PruneConfig))
    config, splits = with_examples(config, known, train=train)
    model, tokenizer = load_for(config, metadata)
    if labels is None and known is None and config.head == Classification.name:
        log.warning(
            "checkpoint %s names no labels: its outputs are taken for %s in this order; another: task.labels=[...]",
            config.checkpoint,
            ", ".join(config.task.labels or []),
        )
    session = Session(config, chosen, splits, model.to(chosen), tokenizer, metadata)
    session.check()
    return session


def open_without_examples(config: CommandConfig, metadata: CheckpointMetadata) -> Session:
    """Load the command's checkpoint, in fp32, for what reads no text: its data need not be there."""
    chosen, folder = set_up(config), Path(config.checkpoint)
    labels = known_labels(config, folder, metadata) or config.task.labels or []
    config = replace(config, task=replace(config.task, labels=labels))
    model, tokenizer = checkpoint.load(folder, head=config.head, metadata=metadata)
    nothing = Dataset.from_dict({})
    return Session(config, chosen, Splits(nothing, nothing, {}), model.to(chosen), tokenizer, metadata)


def load_for(config: CommandConfig, metadata: CheckpointMetadata) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the command's checkpoint, in fp32, refusing one whose outputs do not fit the task."""
    model, tokenizer = checkpoint.load(config.checkpoint, head=config.head, metadata=metadata)
    width = task_type_of(config.task).width
    if not config.generates and width is not None and model.config.num_labels != width:
        raise ValueError(
            f"checkpoint {config.checkpoint} has {model.config.num_labels} outputs, "
            f"task={config.task.name} needs {width}: it is for another task"
        )
    return model, tokenizer


def open_pretrained(config: CommandConfig) -> Session:
    """Load a language model as it is, in fp32, with elimination attached, and its task's examples."""
    chosen = set_up(config)
    config, splits = with_examples(config)
    model, tokenizer = checkpoint.load_pretrained(config.model, head=config.head)
    session = Session(config, chosen, splits, attach(model).eval().to(chosen), tokenizer)
    session.check()
    return session
