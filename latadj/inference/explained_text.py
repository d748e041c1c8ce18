"""A text as `latadj explain` shows it: as the tokens that a model reads, and as words that own them."""

import logging
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from latadj.tasks.encoding.batches import MODEL_INPUTS, shortened

log = logging.getLogger("latadj")
# A word, with marks inside it (don't, co-op, 3.5); one sign of a script that writes no spaces; or any one mark.
WORDS_AND_MARKS = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|(?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+"
    r"(?:['’.,\-](?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+)*|[^\w\s]"
)


# A word of a tagged sentence.
BETWEEN_BLANKS = re.compile(r"\S+")


def is_word(text: str) -> bool:
    """Whether it is no mark alone."""
    return any(sign.isalnum() for sign in text)


@dataclass(frozen=True)
class Word:
    """A word or a mark of the text, or a special token of the tokenizer.

    gap : what stands before it in the text
    pieces : columns of its word pieces; none where the text was cut before it
    special : whether the tokenizer added it
    part : 0 in the first text, 1 in the second
    first : column of its first piece, at which a tagger is read; None where there is none
    """

    text: str
    gap: str
    pieces: tuple[int, ...]
    special: bool = False
    part: int = 0
    first: int | None = None

    @property
    def counts(self) -> bool:
        """Whether it is a word that was read, and no mark or special token."""
        return bool(self.pieces) and not self.special and is_word(self.text)


@dataclass(frozen=True)
class Text:
    """An encoded text, or pair of texts, and its words.

    texts : as they were encoded
    inputs : (1, tokens) each
    parts : for each token 0 in the first text, 1 in the second, -1 for a special token
    offsets : (tokens, 2) the characters of its text that each stands for
    words_beyond : words that stand so far beyond the limit that they are not among ``words``
    """

    texts: tuple[str, ...]
    inputs: dict[str, Tensor]
    words: tuple[Word, ...]
    parts: np.ndarray
    offsets: np.ndarray
    words_beyond: int = 0

    @property
    def tokens(self) -> int:
        return self.inputs["input_ids"].shape[1]


def encode_text(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    limit: int,
    *,
    words: re.Pattern[str] = WORDS_AND_MARKS,
    truncation: bool | str = True,
) -> Text:
    """A text, or a pair, as a model is fed it, cut to ``limit`` tokens.

    Parameters
    ----------
    words : what is a word
    truncation : as a tokenizer takes it: which text of a pair is cut

    Raises
    ------
    ValueError
        if the tokenizer cannot say where its pieces stand, or nothing of the text is left.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not tell where its word pieces stand; a fast tokenizer does")
    whole, texts = texts, [shortened(text, tokenizer, limit) for text in texts]
    if any(len(text) < len(before) for text, before in zip(texts, whole, strict=True)):
        lengths = " and ".join(f"{len(text):,}" for text in texts)
        log.warning("the model reads %d tokens: of the text only %s characters are looked at", limit, lengths)
    encoding = tokenizer(*texts, truncation=truncation, max_length=limit, return_offsets_mapping=True, verbose=False)
    found = words_of(texts, encoding, tokenizer, words)
    if not any(word.pieces and not word.special for word in found):
        raise ValueError("there is no word in this text that the model can read")
    inputs = {name: torch.tensor([encoding[name]]) for name in MODEL_INPUTS if name in encoding}
    parts = np.array([-1 if part is None else part for part in encoding.sequence_ids(0)])
    beyond = sum(
        _count(before, words) - _count(text, words)
        for text, before in zip(texts, whole, strict=True)
        if len(text) < len(before)
    )
    offsets = np.array(encoding["offset_mapping"]).reshape(-1, 2)
    return Text(tuple(texts), inputs, tuple(found), parts, offsets, beyond)


def _count(text: str, pattern: re.Pattern[str]) -> int:
    """The words of a text, without its marks."""
    return sum(is_word(match[0]) for match in pattern.finditer(text))


def words_of(
    texts: Sequence[str],
    encoding: BatchEncoding,
    tokenizer: PreTrainedTokenizerBase,
    pattern: re.Pattern[str] = WORDS_AND_MARKS,
) -> list[Word]:
    """The words of the texts and the special tokens, in the order in which the model reads them.

    A piece belongs to every word that it overlaps, and so has an owner if any word was read; a word of which no
    piece was read has none.
    """
    belongs, offsets = encoding.sequence_ids(0), encoding["offset_mapping"]
    names = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    placed = [
        (float(column), Word(names[column], " ", (column,), special=True))
        for column, part in enumerate(belongs)
        if part is None
    ]
    for part, text in enumerate(texts):
        columns = [column for column, owner in enumerate(belongs) if owner == part]
        starts, ends = [offsets[column][0] for column in columns], [offsets[column][1] for column in columns]
        end, free, place, own = 0, 0, float(columns[0] if columns else len(belongs)), []
        for match in pattern.finditer(text):
            first, stop = bisect_right(ends, match.start()), bisect_left(starts, match.end())
            # A piece that is a blank alone belongs to the word behind it.
            pieces = tuple(columns[min(first, free) : stop]) if first < stop else ()
            free = max(free, stop)
            # A word that was cut off stands behind the last that was read.
            place = float(pieces[0]) if pieces else place + 1e-6
            first_piece = columns[first] if first < stop else None
            own.append((place, Word(match[0], text[end : match.start()], pieces, part=part, first=first_piece)))
            end = match.end()
        placed += _with_the_rest(own, columns[free:])
    words = [word for _, word in sorted(placed, key=lambda pair: pair[0])]
    return [
        replace(word, gap=word.gap or " ") if before.special or before.part != word.part else word
        for before, word in zip([Word("", "", ()), *words], words, strict=False)
    ]


def _with_the_rest(own: list[tuple[float, Word]], rest: list[int]) -> list[tuple[float, Word]]:
    """The words of a text, blanks at its end given to the last that was read."""
    last = max((number for number, (_, word) in enumerate(own) if word.pieces), default=None)
    if last is not None and rest:
        place, word = own[last]
        own[last] = (place, replace(word, pieces=(*word.pieces, *rest)))
    return own
