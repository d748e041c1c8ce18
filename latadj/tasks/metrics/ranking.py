"""Scores of the documents that queries find, as trec_eval has them."""

from collections.abc import Sequence

import numpy as np

# Documents that a query finds of which all count, and only those that a page of results shows.
DEPTH, TOP = 100, 10


def ranked(found: Sequence[int], relevant: Sequence[int]) -> tuple[float, float, float, float]:
    """NDCG, reciprocal rank and recall of one query, and 1; all 0 where there is nothing to be found.

    Parameters
    ----------
    found : places of documents, nearest first
    relevant : place and grade of each right one, in turn
    """
    grades = dict(zip(relevant[::2], relevant[1::2], strict=True))
    if not grades:
        return (0.0,) * 4
    gains = np.array([grades.get(place, 0) for place in found[:DEPTH]], dtype=np.float64)
    best = np.sort(np.array(list(grades.values()), dtype=np.float64))[::-1][:TOP]
    discounts = 1 / np.log2(np.arange(2, TOP + 2))
    first = np.flatnonzero(gains[:TOP])
    return (
        float(gains[:TOP] @ discounts[: len(gains[:TOP])] / (best @ discounts[: len(best)])),
        1 / (1 + int(first[0])) if len(first) else 0.0,
        np.count_nonzero(gains) / len(grades),
        1.0,
    )
