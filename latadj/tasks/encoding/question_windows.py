"""A question and its context as token ids, in as many windows as a long context needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from latadj.tasks.encoding.batches import most_characters


@dataclass(frozen=True)
class WindowLimits:
    """How long texts are cut into windows, all in tokens.

    max_length : of a window, its question and special tokens among them
    doc_stride : by how many tokens of the context neighbouring windows overlap
    max_query_length : of a question; the rest of it is left out
    """

    max_length: int
    doc_stride: int
    max_query_length: int

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse windows in which a context would not move on, and tokenizers that do not know where a token stood.

        Raises
        ------
        ValueError
        """
        if not tokenizer.is_fast:
            raise ValueError(
                f"{type(tokenizer).__name__} does not say where a token stands in its text, which answers are cut out "
                "by: take a model with a fast tokenizer (tokenizer.json)"
            )
        special = tokenizer.num_special_tokens_to_add(pair=True)
        room = self.max_length - self.max_query_length - special
        if room <= self.doc_stride:
            raise ValueError(
                f"max_length={self.max_length}: beside a question of max_query_length={self.max_query_length} and "
                f"{special} special tokens a window holds {room} tokens of context, which must be more than "
                f"doc_stride={self.doc_stride}: take a longer max_length, or less of the others"
            )


@dataclass(frozen=True)
class ContextWindow:
    """A part of a context behind its question, as a model is given it; places are tokens of it, without padding.

    example : the question's place in its table
    inputs : what the tokenizer makes, ``input_ids`` and others
    question, context : first token, and the one after the last
    offsets : (tokens of the context, 2) the characters of the whole context that each stands for
    null : the token whose start and end mean "no answer here"
    start, end : first and last token of the answer; both ``null`` where the window does not hold it whole
    """

    example: int
    inputs: dict[str, list[int]]
    question: tuple[int, int]
    context: tuple[int, int]
    offsets: np.ndarray
    null: int
    start: int
    end: int


def windows_of(
    questions: Sequence[str],
    contexts: Sequence[str],
    answers: Sequence[tuple[int, int] | None],
    tokenizer: PreTrainedTokenizerBase,
    limits: WindowLimits,
) -> list[ContextWindow]:
    """Windows of a batch of questions, those of one question behind each other.

    The question stands first whatever side is padded on, since a decoder's context must see it.

    Parameters
    ----------
    answers : characters of the context from which to which the answer goes, ends not among them; None: no answer

    Raises
    ------
    ValueError
        if ``limits`` do not fit the tokenizer.
    """
    limits.check(tokenizer)
    encoded = tokenizer(
        shortened_questions(questions, tokenizer, limits.max_query_length),
        list(contexts),
        truncation="only_second",
        max_length=limits.max_length,
        stride=limits.doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=False,
    )
    windows = []
    names = [name for name in encoded if name in tokenizer.model_input_names]
    for place, example in enumerate(encoded["overflow_to_sample_mapping"]):
        inputs = {name: encoded[name][place] for name in names}
        # Special tokens belong to neither, as None; a pair's parts never interlock.
        part = np.array([-1 if number is None else number for number in encoded.sequence_ids(place)])
        null = null_position(inputs["input_ids"], tokenizer)
        question, context = _span(part == 0), _span((part == 1) & (np.arange(len(part)) != null))
        offsets = np.asarray(encoded["offset_mapping"][place], dtype=np.int64)[slice(*context)].reshape(-1, 2)
        start, end = _answer_at(answers[example], offsets, context[0], null)
        windows.append(ContextWindow(example, inputs, question, context, offsets, null, start, end))
    return windows


def shortened_questions(questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, most: int) -> list[str]:
    """Questions of at most so many tokens, without the space that some begin with."""
    stripped = [question.strip()[: most_characters(most)] for question in questions]
    encoded = tokenizer(stripped, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        question if len(offsets) <= most else question[: offsets[most - 1][1]]
        for question, offsets in zip(stripped, encoded["offset_mapping"], strict=True)
    ]


def null_position(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """The position that an encoder pools; a decoder, and a T5, sees the whole window from its last token only."""
    return ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else len(ids) - 1


def _span(chosen: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(chosen)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def _answer_at(answer: tuple[int, int] | None, offsets: np.ndarray, first: int, null: int) -> tuple[int, int]:
    """First and last token of an answer, or twice ``null`` where not all of it is in the window."""
    if answer is None or not len(offsets):
        return null, null
    start, end = answer
    begins = int(np.searchsorted(offsets[:, 1], start, side="right"))
    ends = int(np.searchsorted(offsets[:, 0], end, side="left")) - 1
    # A word of which a token stands before the window, or behind it, is not in there.
    if start < offsets[0, 0] or end > offsets[-1, 1] or ends < begins:
        return null, null
    return first + begins, first + ends


def first_answers(texts: Sequence[Sequence[str]], starts: Sequence[Sequence[int]]) -> list[tuple[int, int] | None]:
    """The answer to learn of each question: its first that stands in the context, as characters; None without any."""
    return [
        next(((start, start + len(text)) for text, start in zip(*answers, strict=True) if start >= 0), None)
        for answers in zip(texts, starts, strict=True)
    ]
