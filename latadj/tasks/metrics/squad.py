"""Exact match and F1 of answers as SQuAD 1.1 (arXiv 1606.05250) and 2.0 (arXiv 1806.03822) define them, and the
threshold of no answer.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# ASCII only, as SQuAD has it: a typographic quote or dash is part of a word.
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalized(answer: str) -> str:
    """An answer without what does not count: case, ASCII punctuation, English articles, odd whitespace."""
    bare = answer.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(answer: str, gold: str) -> float:
    """1 where two answers are the same but for what does not count, else 0."""
    return float(normalized(answer) == normalized(gold))


def f1(answer: str, gold: str, *, no_answer: bool) -> float:
    """Harmonic mean of precision and recall over the words of two answers, each word as often as it stands there.

    Parameters
    ----------
    no_answer : whether questions may have no answer. If so, two answers without a word agree (SQuAD 2.0); else they
        have no word in common, hence 0 (SQuAD 1.1)
    """
    words, right = normalized(answer).split(), normalized(gold).split()
    if not words or not right:
        return float(no_answer and words == right)
    common = (Counter(words) & Counter(right)).total()
    # 2 p r / (p + r), with p = common / words and r = common / right
    return 2 * common / (len(words) + len(right))


def golds_of(texts: Sequence[str], *, no_answer: bool) -> list[str]:
    """What counts as a right answer; with ``no_answer``, golds without a word do not, and none at all means ""."""
    if not no_answer:
        return list(texts)
    return [text for text in texts if normalized(text)] or [""]


@dataclass(frozen=True)
class AnswerScores:
    """How right each question's answer is, against the gold answer that it is nearest to.

    exact, f1 : (questions,) from 0 to 1
    answerable : (questions,) whether the data give an answer, if only one without a word
    """

    exact: np.ndarray
    f1: np.ndarray
    answerable: np.ndarray

    @classmethod
    def of(cls, answers: Sequence[str], golds: Sequence[Sequence[str]], *, no_answer: bool) -> "AnswerScores":
        """Score answers, "" where there is none.

        Parameters
        ----------
        golds : right answers to each question
        no_answer : SQuAD 2.0's rules, see :func:`f1` and :func:`golds_of`
        """
        exact, overlap, answerable = [], [], []
        for answer, texts in zip(answers, golds, strict=True):
            right = golds_of(texts, no_answer=no_answer)
            exact.append(max((exact_match(answer, gold) for gold in right), default=0.0))
            overlap.append(max((f1(answer, gold, no_answer=no_answer) for gold in right), default=0.0))
            answerable.append(len(texts) > 0)
        return cls(np.array(exact), np.array(overlap), np.array(answerable, dtype=bool))

    def summary(self, headline: str, *, groups: bool) -> dict[str, float]:
        """Means as fractions of 1, F1 first, under the name ``headline``.

        Parameters
        ----------
        groups : add the means of questions with and without an answer
        """
        means = {headline: _mean(self.f1), "exact_match": _mean(self.exact)}
        if groups:
            for name, chosen in (("has_answer", self.answerable), ("no_answer", ~self.answerable)):
                if chosen.any():
                    means[f"{name}_f1"] = _mean(self.f1[chosen])
                    means[f"{name}_exact"] = _mean(self.exact[chosen])
        return means


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


@dataclass(frozen=True)
class Threshold:
    """Where odds above mean "no answer", and the mean score of the questions that it was found on."""

    value: float
    score: float


def best_threshold(odds: np.ndarray, answered: np.ndarray, silent: np.ndarray) -> Threshold:
    """The threshold with the best mean score; of several as good, the least (it answers least).

    As SQuAD 2.0 searches it: every question's own odds are tried, and below them all, where nothing is answered.

    Parameters
    ----------
    odds : (questions,) the higher, the less there is an answer; inf where nothing can be answered
    answered, silent : (questions,) score of a question if its best span is given, and if nothing is

    Raises
    ------
    ValueError
        if there is no question.
    """
    if not len(odds):
        raise ValueError("a threshold needs at least one question to be found on")
    order = np.argsort(odds, kind="stable")
    tried, gain = odds[order], (answered - silent)[order]
    # Those with the same odds are answered together.
    last = np.append(tried[1:] > tried[:-1], True) & np.isfinite(tried)
    totals = silent.sum() + np.concatenate([[0.0], np.cumsum(gain)[last]])
    finite = tried[np.isfinite(tried)]
    lowest = np.nextafter(finite[0], -np.inf) if len(finite) else 0.0
    values = np.concatenate([[lowest], tried[last]])
    # Sums in another order differ in their last digits, and so would which of two equal ones is taken.
    best = int(np.argmax(totals >= totals.max() - 1e-9 * len(odds)))
    return Threshold(float(values[best]), float(totals[best] / len(odds)))
