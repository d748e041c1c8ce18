"""What a misspelt name was meant to be."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

# How alike a name must be to what was written, and how far below the likest one another may be.
LIKE, NEAR = 0.7, 0.12
SUGGESTED = 3


def likeness(written: str, name: str) -> float:
    """How alike two names are, from 0 to 1; upper and lower case are the same."""
    return SequenceMatcher(None, written.casefold(), name.casefold(), autojunk=False).ratio()


def likest(scores: Mapping[str, float]) -> list[str]:
    """The names of the highest scores, from 0 to 1, the highest first; none where all are low."""
    least = max(LIKE, max(scores.values(), default=0.0) - NEAR)
    return sorted((name for name in scores if scores[name] >= least), key=lambda name: -scores[name])[:SUGGESTED]


def did_you_mean(written: str, names: Iterable[str]) -> str:
    """``; did you mean A or B?`` for a name that is not among ``names``; empty where none is like it."""
    meant = likest({name: likeness(written, name) for name in names})
    return f"; did you mean {listed(meant)}?" if meant else ""


def listed(names: Iterable[str], word: str = "or") -> str:
    """Names in a sentence: ``A, B or C``."""
    *some, last = names
    return f"{', '.join(some)} {word} {last}" if some else last
