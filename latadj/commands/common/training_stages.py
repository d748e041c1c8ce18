"""What the training stages of all commands have in common: rows, teachers, settings to resume with."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from latadj.checkpoints import checkpoint
from latadj.commands.common.session import Session
from latadj.commands.common.training_checks import teacher_of
from latadj.config import AdjustConfig, DistillationConfig, StageConfig
from latadj.devices import ranks
from latadj.elimination.architectures import architecture_of, distinct_layers
from latadj.tasks.encoding.batches import TEACHER, max_input_length
from latadj.tasks.outputs.embeddings import (
    EmbeddingOutputs,
    WholeEmbeddings,
    embedding_size,
    require_dimensions,
    truncated_to,
)
from latadj.tasks.outputs.logits import Outputs
from latadj.training.head_state import read_with_states
from latadj.training.shares import predict_in_shares
from latadj.training.word_dropout import with_word_dropout
from latadj.utils.console import progress

log = logging.getLogger("latadj")


def training_rows(session: Session, stage: StageConfig) -> Dataset:
    """The encoded training split, no more of it than the stage has steps for."""
    train = session.encoded(session.splits.train, replace(session.config.task, **stage.cuts()))
    return _no_more_than_needed(train, session, stage)


def _no_more_than_needed(rows: Dataset, session: Session, stage: StageConfig) -> Dataset:
    if stage.max_steps is None:
        return rows
    # A stage of a quarter of an epoch sees a quarter of its rows.
    seen = min(stage.epochs, 1) or 1
    most = math.ceil(stage.max_steps * stage.accumulate * stage.batch_size / seen)
    return rows.shuffle(seed=session.config.seed).select(range(min(most, len(rows))))


def teacher(session: Session) -> PreTrainedModel:
    """The teacher of the session's model: the one that the config names, else the model itself.

    Commands call this once in ``prepare``, so that an unfit teacher is refused before training.

    Raises
    ------
    ValueError
        if it has another tokenizer, a shorter context or other outputs than its student.
    """
    named = teacher_of(session.config)
    if named is None:
        return session.model
    option, folder = named
    model, tokenizer = checkpoint.load(folder, head=session.config.head)
    if tokenizer.get_vocab() != session.tokenizer.get_vocab():
        raise ValueError(
            f"{option}={folder}: its tokens are not those of its student; name a model with the same tokenizer"
        )
    width = "vocab_size" if session.generates else "num_labels"
    outputs, student_outputs = (getattr(one.config, width) for one in (model, session.model))
    if outputs != student_outputs:
        raise ValueError(
            f"{option}={folder}: it has {outputs} outputs, its student {student_outputs}; name a model of the same task"
        )
    reads = max_input_length(model.config, tokenizer)
    if reads < session.limit:
        raise ValueError(
            f"{option}={folder}: it reads {reads} tokens, its student up to {session.limit}; name another, "
            f"or set task.max_length={reads}"
        )
    return model.to(session.device)


def taught_sizes(session: Session, stage: AdjustConfig) -> tuple[int, ...]:
    """Numbers of dimensions of which the beginning of an embedding is taught by itself, beside the whole.

    Those that ``matryoshka`` names, else what the task or the model reads of an embedding.

    Raises
    ------
    ValueError
        if the model's embeddings have fewer.
    """
    reader = session.outputs
    if not isinstance(reader, EmbeddingOutputs):
        return ()
    require_dimensions(session.model, "adjust.matryoshka", stage.matryoshka)
    read = reader.dimensions or truncated_to(session.model)
    sizes = stage.matryoshka or ([read] if read else [])
    return tuple(size for size in sizes if size < embedding_size(session.model))


def distillation_rows(
    session: Session, stage: DistillationConfig, state_loss_weight: float = 0.0, beginnings: Sequence[int] = ()
) -> tuple[Dataset, Outputs]:
    """:func:`training_rows` of a head with the outputs of the session's :func:`teacher`, and how they are read.

    Texts without a prompt come with word-dropout copies, if the stage has any.

    The teacher never changes, so one pass over the examples serves all epochs. Several processes share it.

    Parameters
    ----------
    state_loss_weight : of the states that heads read, see :func:`~latadj.training.head_state.read_with_states`
    beginnings : of embeddings: sizes that are taught too, see :func:`taught_sizes`
    """
    train, autocast = training_rows(session, stage), session.training_dtype
    if session.prompts is None:
        special = session.tokenizer.all_special_ids
        train = with_word_dropout(train, stage.word_dropout_copies, special=special, seed=session.config.seed)
        train = _no_more_than_needed(train, session, stage)
    taught = teacher(session)
    raw = WholeEmbeddings(beginnings) if beginnings else session.outputs.raw()
    outputs = read_with_states(raw, session.model, taught, state_loss_weight)
    with progress("teacher", len(ranks.own_share(len(train)))) as steps:

        @contextmanager
        def counted(lengths: Sequence[int]) -> Iterator[None]:
            yield
            steps.advance(len(lengths))

        answers = predict_in_shares(
            *(taught, session.tokenizer, train),
            outputs=outputs,
            autocast=autocast,
            around=counted,
        )
    # As arrays, where all are of one length: lists of Python's numbers take several times the memory.
    column = list(answers) if isinstance(answers, np.ndarray) else [answer.tolist() for answer in answers]
    return train.add_column(TEACHER, column), outputs


@contextmanager
def attention_dropped(session: Session, stage: StageConfig) -> Iterator[None]:
    """The session's model with the stage's dropout of attention probabilities, inside a ``with`` block."""
    share = stage.attention_dropout
    if share is None:
        yield
        return
    architecture, layers = architecture_of(session.model), distinct_layers(session.model)
    before = [architecture.drop_attention(layer, share) for layer in layers]
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            architecture.drop_attention(layer, own)


def say_replaced(models: Iterable[Path]) -> None:
    """Log which existing models a new run will replace when it ends."""
    for model in filter(Path.is_dir, models):
        log.info("%s is there already, and this run will replace it; resume=true goes on with it instead", model)
