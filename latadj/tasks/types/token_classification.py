"""Sentences of words, each of which has a tag."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from scipy.special import softmax
from transformers import PreTrainedTokenizerBase

from latadj.config.options.task import OUTSIDE
from latadj.tasks.data.splits import Splits
from latadj.tasks.data.tagging import load_tagged
from latadj.tasks.encoding.batches import IGNORED, MODEL_INPUTS, POSITIONS, require_room
from latadj.tasks.metrics.entities import require_entities, scheme_of
from latadj.tasks.outputs.logits import TokenOutputs
from latadj.tasks.types.base import FEW_WORDS, TaskType

OVERLAP = 0.25  # of neighbouring windows, as a share of their tokens


class TokenClassification(TaskType):
    """A tag for each word, read at its first token.

    A sentence that is too long becomes several windows, and each word is read in the one that shows most of its
    context. Words that the tokenizer drops are given the tag ``O``.
    """

    name = "token_classification"
    outputs = TokenOutputs()

    @property
    def width(self) -> int:
        return len(self.task.labels or ())

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        splits = load_tagged(self.task, known, train=train)
        if self.task.metric != "tag_accuracy":
            require_entities(splits.labels or [], self.task.metric)
        if self.task.metric == "entity_f1_strict":
            for part in (splits.validation, *splits.tests.values()):
                scheme_of(list(part["tags"]))
        return splits

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        if not tokenizer.is_fast:
            raise ValueError(f"tagging words needs a fast tokenizer, which {type(tokenizer).__name__} is not")
        require_room(tokenizer, limit)

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, limit: int) -> Dataset:
        """Rows as in :class:`TaskType`, with the ``example`` and the ``words`` that the ``positions`` stand for."""
        self.check_fit(tokenizer, limit)
        room = limit - tokenizer.num_special_tokens_to_add()
        sentences, all_tags = examples["tokens"][:], examples["tags"][:]  # a slice reads a column at once
        numbers = {name: place for place, name in enumerate(self.task.labels or ())}
        encoded = tokenizer(
            [" ".join(words) for words in sentences],
            truncation=True,
            max_length=limit,
            stride=int(OVERLAP * room),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        owners = encoded["overflow_to_sample_mapping"]
        inputs = [name for name in MODEL_INPUTS if name in encoded]
        rows = []
        for example, windows in _grouped(owners):
            places = _places(sentences[example], [encoded["offset_mapping"][window] for window in windows])
            tags = all_tags[example]
            for window, positions in zip(windows, places, strict=True):
                if not positions:
                    continue
                labels = [IGNORED] * len(encoded["input_ids"][window])
                for word, position in positions.items():
                    labels[position] = numbers.get(tags[word], IGNORED)
                row = {name: encoded[name][window] for name in inputs}
                row |= {"labels": labels, POSITIONS: list(positions.values()), "words": list(positions)}
                rows.append(row | {"example": example, "length": len(labels)})
        return Dataset.from_list(rows)

    def shortened(self, examples: Dataset) -> Dataset:
        def cut(example: dict[str, Any], place: int) -> dict[str, list[str]]:
            words = place % FEW_WORDS + 1
            return {name: example[name][:words] for name in ("tokens", "tags")}

        return examples.map(cut, with_indices=True, load_from_cache_file=False)

    def references(self, examples: Dataset) -> list[list[str]]:
        return list(examples["tags"])

    def predictions(self, answers: Sequence[np.ndarray], encoded: Dataset, examples: Dataset) -> list[list[str]]:
        return [tags for tags, _ in self.tagged(answers, encoded, examples)]

    def tagged(
        self, answers: Sequence[np.ndarray], encoded: Dataset, examples: Dataset
    ) -> list[tuple[list[str], list[float]]]:
        """The tag of each word of each sentence, and its probability; parameters as those of ``predictions``.

        A word that the tokenizer drops has the probability 1.
        """
        names = self.task.labels or []
        unread = OUTSIDE if OUTSIDE in names else names[0]
        tagged = [([unread] * len(words), [1.0] * len(words)) for words in examples["tokens"][:]]
        if not len(encoded):  # no word of them all was read
            return tagged
        for answer, example, words in zip(answers, encoded["example"][:], encoded["words"][:], strict=True):
            tags, probabilities = tagged[example]
            best = answer.argmax(axis=-1)
            shares = np.take_along_axis(softmax(answer, axis=-1), best[:, None], axis=-1)[:, 0]
            for word, number, share in zip(words, best, shares, strict=True):
                tags[word], probabilities[word] = names[number], float(share)
        return tagged

    def agreement(self, predictions: list[list[str]], full: list[list[str]]) -> float:
        """Share of the words that have the same tag."""
        same = [one == other for a, b in zip(predictions, full, strict=True) for one, other in zip(a, b, strict=True)]
        return float(np.mean(same))

    def table(self, examples: Dataset, predictions: list[list[str]], answers: Any) -> pd.DataFrame:
        """A row for each word, in the order of the sentences."""
        rows = [
            (number, *word)
            for number, (row, predicted) in enumerate(zip(examples, predictions, strict=True))
            for word in zip(row["tokens"], row["tags"], predicted, strict=True)
        ]
        return pd.DataFrame(rows, columns=["sentence", "token", "tag", "prediction"])


def _grouped(owners: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Each example and its windows."""
    edges = np.flatnonzero(np.diff(owners, prepend=-1, append=-1)).tolist()
    for start, stop in pairwise(edges):
        yield owners[start], list(range(start, stop))


def _places(words: Sequence[str], windows: Sequence[Sequence[tuple[int, int]]]) -> list[dict[int, int]]:
    """For each window of a sentence the words that are read in it, each with the position of its first token.

    Parameters
    ----------
    words : of the sentence, which joins them by single spaces
    windows : for each token its first character in the sentence and the one after its last
    """
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    starts = [0, *(ends[:-1] + 1).tolist()]
    best: dict[int, tuple[int, int, int]] = {}
    for number, offsets in enumerate(windows):
        real = [place for place, (start, stop) in enumerate(offsets) if stop > start]
        seen: set[int] = set()
        for place in real:
            start, stop = offsets[place]
            word = int(np.searchsorted(ends, stop - 1, side="right"))
            if word == len(words) or stop <= starts[word] or word in seen:
                continue  # nothing but the space between two words, or not the first token
            seen.add(word)
            if number > 0 and place == real[0] and start > starts[word]:
                continue  # the window starts inside this word
            margin = min(place - real[0], real[-1] - place)
            if word not in best or margin > best[word][0]:
                best[word] = (margin, number, place)
    positions: list[dict[int, int]] = [{} for _ in windows]
    for word, (_, number, place) in sorted(best.items()):
        positions[number][word] = place
    return positions
