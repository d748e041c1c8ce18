"""Running text: a language model predicts the continuations of prompts that are cut from documents."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import GENERATION, TaskConfig
from latadj.tasks.data.documents import load_texts
from latadj.tasks.data.splits import Splits
from latadj.tasks.outputs.likelihood import Likelihoods
from latadj.tasks.outputs.logits import agreement
from latadj.tasks.types.base import TaskType

log = logging.getLogger("latadj")


class RunningText(TaskType):
    """Prompts and continuations cut from documents; a model is scored on how likely it finds the continuations.

    Examples are the encoded rows: one document gives several. Predictions are negative log-likelihoods in nats,
    references are the numbers of tokens that they sum over.
    """

    name = GENERATION
    scores_continuations = True

    @property
    def default_batch(self) -> int:
        """One: people wait for the first token of a single prompt."""
        return 1

    @property
    def width(self) -> None:
        return None

    def limit(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
        return context_length(model)

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        return load_texts(self.task)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> Dataset:
        return cut(examples, tokenizer, self.task, limit)

    def references(self, examples: Dataset) -> np.ndarray:
        return np.array([len(continuation) for continuation in examples["continuation"]])

    def predictions(self, answers: Likelihoods, encoded: Dataset, examples: Dataset) -> np.ndarray:
        return answers.nll

    def agreement(self, predictions: np.ndarray, full: np.ndarray) -> float:
        """Correlation with the full model's log-likelihoods."""
        return agreement(predictions, full, regression=True)

    def table(self, examples: Dataset, predictions: np.ndarray, answers: Likelihoods | None = None) -> pd.DataFrame:
        tokens = self.references(examples)
        columns = {
            "document": examples["document"],
            "prompt_tokens": examples["length"],
            "continuation_tokens": tokens,
            "negative_log_likelihood": predictions,
            "perplexity": np.exp(predictions / tokens),
        }
        return pd.DataFrame(columns)


@dataclass(frozen=True)
class Frame:
    """Token ids that a tokenizer puts before and after a text, such as a decoder's bos and T5's eos."""

    before: list[int]
    after: list[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Frame":
        """What this tokenizer adds to a word."""
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = tokenizer("a")["input_ids"]
        start = next(i for i in range(len(framed) + 1) if framed[i : i + len(bare)] == bare)
        return cls(framed[:start], framed[start + len(bare) :])

    def around(self, ids: list[int], most: int) -> list[int]:
        """The last of ``ids`` in this frame, at most ``most`` tokens together."""
        room = most - len(self.before) - len(self.after)
        return [*self.before, *ids[max(len(ids) - room, 0) :], *self.after]


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens that a model has positions for; None where positions are relative, as T5's."""
    return getattr(model.config, "max_position_embeddings", None)


def cut(documents: Dataset, tokenizer: PreTrainedTokenizerBase, task: TaskConfig, limit: int | None) -> Dataset:
    """Examples of a generation task; documents too short for one give none.

    Parameters
    ----------
    documents : columns ``text`` and ``document``
    limit : tokens that prompt and continuation may have together, see :func:`context_length`

    Returns
    -------
    columns ``input_ids`` (the prompt: exactly ``task.prompt_length`` tokens, with what the tokenizer frames a text in;
    at most so many for ``last_word``), ``continuation`` (token ids), ``document`` (number) and ``length`` (tokens of
    the prompt). Where the tokenizer ends a text with an eos, a continuation has it only at its document's end.

    Raises
    ------
    ValueError
        if an example is longer than the model's context, or no document is long enough for one.
    """
    total = task.prompt_length + task.continuation_length
    if limit is not None and total > limit:
        raise ValueError(
            f"task.prompt_length={task.prompt_length} and task.continuation_length={task.continuation_length} make "
            f"{total} tokens, the model's context has {limit}: lower one, or take a model of longer context"
        )
    frame = Frame.of(tokenizer)
    if task.continuation == "recall" and task.prompt_length < 3 * (task.cue + task.continuation_length):
        raise ValueError(
            f"task.prompt_length={task.prompt_length}: a passage of task.cue={task.cue} and task.continuation_length="
            f"{task.continuation_length} tokens is recalled from its first half, so it needs at least "
            f"{3 * (task.cue + task.continuation_length)}"
        )
    if task.prompt_length <= len(frame.before) + len(frame.after):
        raise ValueError(f"task.prompt_length={task.prompt_length}: expected more than the tokenizer's own tokens")
    rows: list[dict[str, Any]] = []
    lengths = []
    for document in documents:
        ids = _ids(tokenizer, document["text"])
        lengths.append(len(ids))
        if task.continuation == "last_word":
            examples = _last_word(ids, _ids(tokenizer, _all_but_last_word(document["text"])), frame, task)
        else:
            examples = (_recalled if task.continuation == "recall" else _windows)(ids, frame, task)
        for prompt, continuation in islice(examples, task.windows):
            rows.append(
                {
                    "input_ids": prompt,
                    "continuation": continuation,
                    "document": document["document"],
                    "length": len(prompt),
                }
            )
    if not rows:
        raise ValueError(_too_short(lengths, task))
    count = len({row["document"] for row in rows})
    log.info("task %s: %d examples from %d of %d documents", task.name, len(rows), count, len(lengths))
    return Dataset.from_list(rows)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _windows(ids: list[int], frame: Frame, task: TaskConfig) -> Iterator[tuple[list[int], list[int]]]:
    """Prompts and the tokens right after each, from the start of the document on."""
    stream = [*ids, *frame.after]
    inside = task.prompt_length - len(frame.before) - len(frame.after)
    length = inside + task.continuation_length
    for start in range(0, len(stream) - length + 1, task.stride or length):
        middle = start + inside
        yield frame.around(stream[start:middle], task.prompt_length), stream[middle : start + length]


def _recalled(ids: list[int], frame: Frame, task: TaskConfig) -> Iterator[tuple[list[int], list[int]]]:
    """Prompts that end by quoting the start of a passage from their first half, and the rest of that passage.

    What is needed stands far back: a window over the most recent tokens cannot go on.
    """
    inside = task.prompt_length - len(frame.before) - len(frame.after) - task.cue
    quoted = task.cue + task.continuation_length
    for number, start in enumerate(range(0, len(ids) - inside + 1, task.stride or inside)):
        text = ids[start : start + inside]
        # At a place that wanders from example to example, but never at random.
        place = (number * 7919 + len(ids) * 104729) % max(inside // 2 - quoted, 1)
        passage = text[place : place + quoted]
        yield frame.around([*text, *passage[: task.cue]], task.prompt_length), passage[task.cue :]


def _last_word(
    ids: list[int], head: list[int], frame: Frame, task: TaskConfig
) -> Iterator[tuple[list[int], list[int]]]:
    """The last word after all that stands before it; nothing where there is only one word, or too long a one."""
    # Where tokens of both go together, as tokenizers put a space before a word, is for the whole text to say.
    same = next((i for i, (one, other) in enumerate(zip(ids, head, strict=False)) if one != other), len(head))
    if same and 0 < len(ids) - same <= task.continuation_length:
        yield frame.around(ids[:same], task.prompt_length), ids[same:]


def _all_but_last_word(text: str) -> str:
    words = text.rsplit(maxsplit=1)
    return words[0] if len(words) == 2 else ""


def _too_short(lengths: list[int], task: TaskConfig) -> str:
    if task.continuation == "last_word":
        return f"task {task.name}: none of its {len(lengths)} documents has a last word after other words"
    wanted = task.prompt_length + (0 if task.continuation == "recall" else task.continuation_length)
    spread = f"{min(lengths)} to {max(lengths)}" if lengths else "no"
    return (
        f"task {task.name}: none of its {len(lengths)} documents is long enough for task.prompt_length="
        f"{task.prompt_length} and task.continuation_length={task.continuation_length} together ({wanted} tokens), "
        f"they have {spread} tokens: lower these, or give longer documents (blocks of a text file: task.block_words)"
    )
