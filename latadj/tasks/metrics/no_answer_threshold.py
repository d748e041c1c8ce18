"""The odds above which a question has no answer, tuned on validation questions."""

from dataclasses import dataclass

import numpy as np


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
