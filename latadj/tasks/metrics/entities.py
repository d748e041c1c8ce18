"""Entities in tagged sentences, found by seqeval, and how many of them are right in each sentence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities, auto_detect

from latadj.config.options.task import OUTSIDE

PREFIXES = tuple(f"{letter}-" for letter in "BIESLU")
Tags = Sequence[Sequence[str]]


def entities(tags: Sequence[str]) -> set[Any]:
    """(type, first word, last word) of each entity, as `conlleval` reads IOB1, IOB2 and IOBES alike."""
    return set(get_entities(list(tags)))


def strict_entities(sentences: Tags, scheme: Any) -> list[set[Any]]:
    """The same of many sentences, where only what the scheme spells out counts: no entity starts with ``I-``."""
    by_sentence = Entities([list(tags) for tags in sentences], scheme).entities
    return [{(entity.tag, entity.start, entity.end - 1) for entity in sentence} for sentence in by_sentence]


def scheme_of(sentences: Tags) -> Any:
    """The scheme of right tags: seqeval's IOB2, IOE2, IOBES or BILOU.

    Raises
    ------
    ValueError
        if the tags are of none of them, or break its rules.
    """
    if all(tag == OUTSIDE for tags in sentences for tag in tags):
        return IOB2  # nothing says which
    try:
        scheme = auto_detect([list(tags) for tags in sentences])
        strict = strict_entities(sentences, scheme)
    except ValueError as error:
        raise ValueError(f"task.metric=entity_f1_strict: {error}; take task.metric=entity_f1") from error
    for tags, expected in zip(sentences, strict, strict=True):
        if entities(tags) != expected:
            raise ValueError(
                f"task.metric=entity_f1_strict: the tags {' '.join(tags)} break the rules of {scheme.__name__}, as "
                "IOB1 does: take task.metric=entity_f1, which reads them all"
            )
    return scheme


def require_entities(labels: Sequence[str], metric: str) -> None:
    """Refuse tags that mark no entities.

    Raises
    ------
    ValueError
    """
    strange = [name for name in labels if name != OUTSIDE and name[:2] not in PREFIXES]
    if strange:
        raise ValueError(
            f"task.metric={metric}: the tag {strange[0]!r} marks no entity, expected such as B-PER, I-PER and O: take "
            "task.metric=tag_accuracy"
        )


def counts(predictions: Tags, references: Tags, strict: bool = False) -> np.ndarray:
    """The counts from which scores are computed, for each sentence.

    Parameters
    ----------
    predictions, references : tags of each sentence
    strict : read both by the scheme of ``references``

    Returns
    -------
    (sentences, 5) right, predicted and real entities; rightly tagged words, and words
    """
    if strict:
        scheme = scheme_of(references)
        predicted, real = strict_entities(predictions, scheme), strict_entities(references, scheme)
    else:
        predicted, real = [entities(tags) for tags in predictions], [entities(tags) for tags in references]
    rows = [(len(one & other), len(one), len(other)) for one, other in zip(predicted, real, strict=True)]
    return np.concatenate([np.reshape(rows, (-1, 3)).astype(np.int64), words(predictions, references)], axis=1)


def words(predictions: Tags, references: Tags) -> np.ndarray:
    """(sentences, 2) rightly tagged words, and words."""
    rows = [
        (sum(one == other for one, other in zip(tags, right, strict=True)), len(right))
        for tags, right in zip(predictions, references, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def scores(counted: np.ndarray) -> dict[str, float]:
    """Micro-averaged scores of some sentences' :func:`counts`; 0 where there is nothing to be right about."""
    right, predicted, real, tagged, everything = counted.sum(axis=0).tolist()
    return {
        "f1": _share(2 * right, predicted + real),
        "precision": _share(right, predicted),
        "recall": _share(right, real),
        "accuracy": _share(tagged, everything),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
