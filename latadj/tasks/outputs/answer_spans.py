"""Answers from start and end logits: the best spans over all windows of a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import softmax

# Pairs of a start and an end that are scored at once: 16 MB of them.
_PAIRS = 1 << 22


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    text : "" for no answer
    start, end : characters of the context, the end not among them; None without an answer
    probability : a softmax over the spans that were listed, and over "no answer" where there may be none
    score : a sum of two logits
    """

    text: str
    start: int | None
    end: int | None
    probability: float
    score: float


@dataclass(frozen=True)
class BestSpans:
    """The best spans of every question, and how its lack of an answer scores; a score is a sum of two logits.

    question : (spans,) rising
    begin, end : (spans,) characters of the question's context, ends not among them
    score : (spans,) falling inside a question
    first : (questions + 1,) where each question's spans begin
    null : (questions,) the least score of "no answer here" over a question's windows; inf without any window
    """

    question: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    score: np.ndarray
    first: np.ndarray
    null: np.ndarray

    @property
    def odds(self) -> np.ndarray:
        """(questions,) by how much "no answer" scores above the best span; the higher, the less there is an answer."""
        best = np.full(len(self.null), -np.inf)
        some = self.first[1:] > self.first[:-1]
        best[some] = self.score[self.first[:-1][some]]
        # Where nothing can be cut out there is no answer, whatever the logits.
        return np.where(some, self.null - best, np.inf)

    def texts(self, contexts: Sequence[str]) -> list[str]:
        """The best span of each question, "" where there is none."""
        return [self._text(contexts, at) if at < to else "" for at, to in zip(self.first, self.first[1:], strict=False)]

    def answers(self, contexts: Sequence[str], threshold: float | None) -> list[str]:
        """The answer to each question: its best span, or "" where ``odds`` are above a threshold (None: never)."""
        texts = self.texts(contexts)
        if threshold is None:
            return texts
        return [text if odd <= threshold else "" for text, odd in zip(texts, self.odds, strict=True)]

    def n_best(self, contexts: Sequence[str], *, no_answer: bool) -> list[list[dict[str, Any]]]:
        """All spans of each question with ``text``, ``probability`` and ``score``, likeliest first.

        Parameters
        ----------
        no_answer : whether "" is one of them. Probabilities are a softmax over those that are listed
        """
        return [
            [{"text": one.text, "probability": one.probability, "score": one.score} for one in listed]
            for listed in self._listed(contexts, no_answer)
        ]

    def best(self, contexts: Sequence[str], threshold: float | None) -> list[Answer]:
        """The answer to each question, as :meth:`answers` chooses it.

        Parameters
        ----------
        threshold : of ``odds``; None: each question has an answer
        """
        chosen = []
        for listed, odds in zip(self._listed(contexts, threshold is not None), self.odds, strict=True):
            silent = threshold is not None and odds > threshold
            fitting = [one for one in listed if (one.start is None) == silent]
            chosen.append(fitting[0] if fitting else listed[0])
        return chosen

    def _listed(self, contexts: Sequence[str], no_answer: bool) -> list[list[Answer]]:
        """All spans of each question, likeliest first; "" among them if it may be the answer, or there is no span."""
        ranked = []
        for place, (at, to) in enumerate(zip(self.first, self.first[1:], strict=False)):
            spans: list[tuple[str, int | None, int | None, float]]
            spans = [(*self._span(contexts, span), float(self.score[span])) for span in range(at, to)]
            known = bool(np.isfinite(self.null[place]))
            if (no_answer and known) or not spans:
                spans.append(("", None, None, float(self.null[place]) if known else 0.0))
            spans.sort(key=lambda one: -one[3])
            shares = softmax([score for *_, score in spans])
            ranked.append(
                [
                    Answer(text, start, end, float(share), score)
                    for (text, start, end, score), share in zip(spans, shares, strict=True)
                ]
            )
        return ranked

    def _span(self, contexts: Sequence[str], span: int) -> tuple[str, int | None, int | None]:
        whole = contexts[self.question[span]][self.begin[span] : self.end[span]]
        text = whole.strip()
        start = int(self.begin[span]) + len(whole) - len(whole.lstrip())
        return text, start, start + len(text)

    def _text(self, contexts: Sequence[str], span: int) -> str:
        # Some tokenizers count the space before a word as the word's.
        return self._span(contexts, span)[0]


def best_spans(
    starts: Sequence[np.ndarray],
    ends: Sequence[np.ndarray],
    nulls: np.ndarray,
    offsets: Sequence[np.ndarray],
    question: np.ndarray,
    questions: int,
    *,
    n_best: int = 20,
    max_answer_length: int = 30,
) -> BestSpans:
    """The best of all spans that end at or after their start and are not too long, over a question's windows.

    Parameters
    ----------
    starts, ends : for each window (tokens of its context,) logits
    nulls : (windows,) sum of the logits at the position that means "no answer here"
    offsets : for each window (tokens of its context, 2) the characters of each token
    question : (windows,) whose window it is, from 0 to ``questions``
    n_best : spans of a question that are kept
    max_answer_length : tokens of a span
    """
    windows, begin, end, score = _of_windows(starts, ends, offsets, n_best, max_answer_length)
    question = np.asarray(question, dtype=np.int64)
    null = np.full(questions, np.inf)
    np.minimum.at(null, question, np.asarray(nulls, dtype=np.float64))
    number = question[windows]
    order = np.lexsort((end, begin, -score, number))
    number, begin, end, score = number[order], begin[order], end[order], score[order]
    # Windows overlap, so the same words may have been found twice: the better score stands first.
    size = int(end.max(initial=0)) + 1
    _, places = np.unique((number * size + begin) * size + end, return_index=True)
    places.sort()
    number, begin, end, score = number[places], begin[places], end[places], score[places]
    rank = np.arange(len(number)) - np.searchsorted(number, number)
    best = rank < n_best
    number = number[best]
    first = np.searchsorted(number, np.arange(questions + 1))
    return BestSpans(number, begin[best], end[best], score[best], first, null)


def _of_windows(
    starts: Sequence[np.ndarray],
    ends: Sequence[np.ndarray],
    offsets: Sequence[np.ndarray],
    n_best: int,
    max_answer_length: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Window, first character, last and score of each window's own best spans."""
    lengths = np.array([len(logits) for logits in starts], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    best_of_chunks: list[tuple[np.ndarray, ...]] = [
        (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    ]
    while len(order):
        # Of like length, so that little is computed beside what is there.
        longest = int(lengths[order[-1]])
        reach = min(max_answer_length, longest)
        chunk = order[-max(_PAIRS // (longest * reach), 1) :]
        order = order[: -len(chunk)]
        from_here = _padded([np.asarray(starts[window], np.float32) for window in chunk], longest, -np.inf)
        to_there = _padded([np.asarray(ends[window], np.float32) for window in chunk], longest + reach - 1, -np.inf)
        pairs = (from_here[:, :, None] + sliding_window_view(to_there, reach, axis=1)).reshape(len(chunk), -1)
        most = min(n_best, pairs.shape[1])
        best = np.argpartition(pairs, -most, axis=1)[:, -most:]
        scores = np.take_along_axis(pairs, best, axis=1)
        row, place = np.nonzero(np.isfinite(scores))
        token, further = np.divmod(best[row, place], reach)
        characters = _padded([np.asarray(offsets[window], np.int64) for window in chunk], longest, 0)
        begin, end = characters[row, token, 0], characters[row, token + further, 1]
        best_of_chunks.append((chunk[row], begin, end, scores[row, place].astype(np.float64)))
    windows, begin, end, score = (np.concatenate(parts) for parts in zip(*best_of_chunks, strict=True))
    return windows, begin, end, score


def _padded(rows: Sequence[np.ndarray], width: int, filler: float) -> np.ndarray:
    """Rows of different lengths as one array, with ``filler`` behind each."""
    frame = np.full((len(rows), width, *rows[0].shape[1:]), filler, dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        frame[place, : len(row)] = row
    return frame
