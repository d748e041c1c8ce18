"""Text to token ids, and token ids to batches, to predict or to train on."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import TaskConfig

if TYPE_CHECKING:
    from datasets import Dataset

Batch = dict[str, torch.Tensor]
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Column of the tokens of a row whose outputs are read, in rising order, where a head reads them all.
POSITIONS = "positions"
# Column of spans that are never eliminated: the first token of each and the one after its last, in turn; in a batch, a
# mask.
PROTECTED = "protected"
# Columns of a teacher's logits, and in a batch of the tokens that they are of.
TEACHER, POSITION_MASK = "teacher_logits", "position_mask"
# What labels are padded with, and no loss counts.
IGNORED = -100
# Of a text where only the model says how many it reads, which may be no number that a text has.
MOST_TOKENS = 2**15
# Few enough that what a tokenizer keeps of each text besides its ids takes little memory.
TOKENIZER_BATCH = 1024
# Prose has four or five characters a token, blanks included, and the longest entries of known vocabularies have 128
# (runs of blanks or signs, GPT-2's and Llama 3's): what stands behind twice as many for each token is never read.
CHARACTERS_PER_TOKEN = 256
# Few enough for any tokenizer; a text may begin with many blanks, which some tokenizers drop.
LEAST_CHARACTERS = 2**16


def most_characters(limit: int) -> int:
    """Characters that ``limit`` tokens may stand for."""
    return max(CHARACTERS_PER_TOKEN * int(limit), LEAST_CHARACTERS)


def shortened(text: str, tokenizer: PreTrainedTokenizerBase, limit: int) -> str:
    """A text without what stands far beyond its first ``limit`` tokens, or its last where the tokenizer keeps these.

    A tokenizer reads all of a text before it cuts it: of 50 million characters for a minute and a half, in 9 GB.
    """
    most = most_characters(limit)
    if len(text) <= most:
        return text
    return text[-most:] if tokenizer.truncation_side == "left" else text[:most]


def require_room(tokenizer: PreTrainedTokenizerBase, limit: int, texts: int = 1) -> None:
    """Refuse a limit in tokens at which nothing of the texts is read beside the special tokens.

    Raises
    ------
    ValueError
    """
    special = tokenizer.num_special_tokens_to_add(pair=texts == 2)
    if limit < special + texts:
        raise ValueError(
            f"max_length={limit}: no word fits beside the {special} special tokens: take at least {special + texts}"
        )


def max_input_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a model of this config and its tokenizer accept."""
    return min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", tokenizer.model_max_length))


def token_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: TaskConfig) -> int:
    """Tokens that a text may have: the least of what task, tokenizer and model allow."""
    return min(task.max_length, max_input_length(model.config, tokenizer))


def encode(examples: "Dataset", tokenizer: PreTrainedTokenizerBase, task: TaskConfig, limit: int) -> "Dataset":
    """Token ids, cut to ``limit`` tokens, with ``labels`` and ``length``.

    Columns out: those the tokenizer makes, ``labels`` (int, or float for a regression), ``length`` (tokens).
    """

    def one(rows: dict[str, list[Any]]) -> dict[str, Any]:
        texts = ([shortened(text, tokenizer, limit) for text in rows[column]] for column in task.text)
        encoded = tokenizer(*texts, truncation=True, max_length=limit)
        return {**encoded, "labels": rows["label"], "length": [len(ids) for ids in encoded["input_ids"]]}

    return examples.map(one, batched=True, remove_columns=examples.column_names, load_from_cache_file=False)


def rows_of(encoded: "Dataset") -> list[dict[str, Any]]:
    """The encoded examples as plain rows: the model's inputs, and the positions that are read or protected."""
    columns = (*MODEL_INPUTS, POSITIONS, PROTECTED)
    return encoded.select_columns([name for name in encoded.column_names if name in columns]).to_list()


def tokenize(texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, limit: int) -> list[dict[str, Any]]:
    """Rows of token ids, cut to ``limit`` tokens, for texts that are not in a data set.

    Parameters
    ----------
    texts : one sequence of texts for each text column, all of one length
    """
    rows: list[dict[str, Any]] = []
    # A row's mask and a single text's types are known, and making lists of them takes longer than tokenizing.
    left_out = {"return_attention_mask": False} | ({"return_token_type_ids": False} if len(texts) == 1 else {})
    for start in range(0, len(texts[0]), TOKENIZER_BATCH):
        batch = [
            [shortened(text, tokenizer, limit) for text in column[start : start + TOKENIZER_BATCH]] for column in texts
        ]
        encoded = tokenizer(*batch, truncation=True, max_length=limit, verbose=False, **left_out)
        names = [name for name in MODEL_INPUTS if name in encoded]
        rows += [dict(zip(names, row, strict=True)) for row in zip(*(encoded[name] for name in names), strict=True)]
    return rows


def pad(rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, length: int | None = None) -> Batch:
    """Rows to one batch: padded to the longest, or to ``length``; tensors of (batch, length).

    The result of ``tokenizer.pad`` in a tenth of its time, which counts for short batches at a high speedup. With
    padding on the left it adds ``position_ids`` that count from the first real token, since a decoder with absolute
    positions, such as GPT-2, would otherwise compute something else for a text in a batch than for the text alone.
    Rows with ``PROTECTED`` tokens give a mask of that name, which ``Outputs`` removes again.
    """
    lengths = np.array([len(row["input_ids"]) for row in rows])
    width = max(int(lengths.max()), length or 0)
    columns = np.arange(width)
    left = tokenizer.padding_side == "left"
    real = columns >= (width - lengths)[:, None] if left else columns < lengths[:, None]
    fillers = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    batch = {"attention_mask": torch.from_numpy(real.astype(np.int64))}
    if left:
        batch["position_ids"] = torch.from_numpy(np.maximum(real.cumsum(axis=1) - 1, 0))
    for name, filler in fillers.items():
        if name in rows[0]:
            padded = np.full(real.shape, filler, dtype=np.int64)
            padded[real] = np.concatenate([row[name] for row in rows])
            batch[name] = torch.from_numpy(padded)
    if PROTECTED in rows[0]:
        edges = (np.array([row[PROTECTED] for row in rows]) + real.argmax(axis=1)[:, None]).T[:, :, None]
        spans = [(columns >= first) & (columns < last) for first, last in zip(edges[::2], edges[1::2], strict=True)]
        batch[PROTECTED] = torch.from_numpy(np.any(spans, axis=0))
    return batch


def protected_counts(rows: Sequence[dict[str, Any]]) -> np.ndarray | int:
    """(rows,) tokens of each row that are never eliminated, the pooled one among them; 0 where nothing is protected."""
    if not rows or PROTECTED not in rows[0]:
        return 0
    edges = np.array([row[PROTECTED] for row in rows])
    lengths = np.array([len(row["input_ids"]) for row in rows])
    # A head reads the first token, or the last.
    both_ends = (edges[:, 0] == 0) & (edges[:, -1] == lengths) & (edges[:, -2] < lengths)
    return (edges[:, 1::2] - edges[:, ::2]).sum(axis=1) + ~both_ends


def position_mask(rows: Sequence[dict[str, Any]], batch: Batch) -> torch.Tensor | None:
    """Which tokens of a padded batch are read, (batch, length); None where rows do not name ``POSITIONS``."""
    if POSITIONS not in rows[0]:
        return None
    mask = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    for index, (row, first) in enumerate(zip(rows, batch["attention_mask"].argmax(dim=1).tolist(), strict=True)):
        mask[index, [first + position for position in row[POSITIONS]]] = True
    return mask


def bucketed(rows: Sequence[dict[str, Any]], batch_size: int) -> list[np.ndarray]:
    """Indices of batches of like length, shortest first, with next to no padding."""
    order = np.argsort([len(row["input_ids"]) for row in rows], kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def bucketed_batches(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Batches of like length with the indices of their rows."""
    for index in bucketed(rows, batch_size):
        yield index, pad([rows[i] for i in index], tokenizer)


class Collator:
    """Collates rows of a training set; columns that neither the model nor the loss reads are left out.

    targets : columns that the loss reads

    A target is a number for each row, or a list with one for each token, which is padded with ``IGNORED``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, targets: Sequence[str]) -> None:
        self.tokenizer, self.targets = tokenizer, targets

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = pad(rows, self.tokenizer)
        real = batch["attention_mask"].bool()
        for name in self.targets:
            batch[name] = _target([row[name] for row in rows], real)
        if TEACHER in rows[0]:
            positions = position_mask(rows, batch)
            if positions is None:
                batch[TEACHER] = torch.tensor([row[TEACHER] for row in rows])
            else:
                batch[POSITION_MASK] = positions
                batch[TEACHER] = [torch.tensor(row[TEACHER]) for row in rows]
        return batch


def _target(values: list[Any], real: torch.Tensor) -> torch.Tensor:
    if not isinstance(values[0], list):
        return torch.tensor(values)
    padded = torch.full(real.shape, IGNORED)
    padded[real] = torch.tensor([value for row in values for value in row])
    return padded
