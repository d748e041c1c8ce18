"""What a search for profiles changes, and how it chooses what to try next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

# Spread of the first random changes, and of the last beside it: far from even levels few are better.
FIRST_STEP, LAST_STEP = 0.75, 0.3


@dataclass(frozen=True)
class Candidate:
    """What is changed at random: directions, along which a profile of any speedup is found.

    tokens : (layers,) how fast the log keep ratio falls in each layer
    short_length : as in :class:`Profile`
    width_share : of the speedup's logarithm, how much width gives
    heads, neurons : (layers,) how fast the log share of each layer's heads and neurons falls
    holds_level : whether the level before stays
    """

    tokens: np.ndarray
    short_length: float
    width_share: float = 0.0
    heads: np.ndarray | None = None
    neurons: np.ndarray | None = None
    holds_level: bool = False

    def changed(self, step: float, rng: np.random.Generator) -> "Candidate":
        """A neighbour; a larger step lies further off."""

        def noisy(values: np.ndarray) -> np.ndarray:
            return values * np.exp(step * rng.standard_normal(len(values)))

        tokens, short_length = noisy(self.tokens), self.short_length * float(np.exp(step * rng.standard_normal()))
        if len(tokens) > 1 and rng.random() < 0.5:
            tokens = moved(tokens, rng)
        if self.heads is None or self.neurons is None or self.holds_level:
            return replace(self, tokens=tokens, short_length=short_length)
        # A third of the neighbours leave the widths as they are, and a third the tokens.
        what = rng.integers(3)
        odds = self.width_share / (1 - self.width_share) if self.width_share else 0.25
        odds *= float(np.exp(step * rng.standard_normal()))
        return Candidate(
            self.tokens if what == 1 else tokens,
            self.short_length if what == 1 else short_length,
            self.width_share if what == 2 and self.width_share else odds / (1 + odds),
            self.heads if what == 2 else noisy(self.heads),
            self.neurons if what == 2 else noisy(self.neurons),
        )


def moved(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A direction where one layer cuts what one beside it did, or half of it where it cut nothing.

    Choosing takes time, so that a few large cuts may leave more than many small ones.
    """
    place = int(rng.integers(len(tokens)))
    beside = place + 1 if place == 0 or (place + 1 < len(tokens) and rng.random() < 0.5) else place - 1
    found = tokens.copy()
    if tokens[beside]:
        found[place] += tokens[beside] * (1.0 if tokens[place] else 0.5)
        found[beside] *= 0.0 if tokens[place] else 0.5
    return found


class Strategy(Protocol):
    """Chooses the candidates of one speedup, one after the other."""

    def ask(self) -> Candidate:
        """What to try next."""

    def tell(self, candidate: Candidate, divergence: float | None) -> None:
        """What came of the candidate that was asked for; None: it has no profile of this speedup."""


# (candidates to begin with, trials, random numbers) -> the strategy of a speedup
StrategyOf = Callable[[Sequence[Candidate], int, np.random.Generator], Strategy]


class RandomChanges:
    """Tries what it begins with, then random changes of the best so far, in ever smaller steps.

    Optuna's samplers, given the same trials, find no better ones: `benchmarks/search_strategies.py`.
    """

    def __init__(self, starts: Sequence[Candidate], trials: int, rng: np.random.Generator) -> None:
        self._starts, self._trials, self._rng = starts, trials, rng
        self._trial = 0
        self._best: tuple[float, Candidate] | None = None

    def ask(self) -> Candidate:
        trial, self._trial = self._trial, self._trial + 1
        if trial < len(self._starts) or self._best is None:
            return self._starts[trial % len(self._starts)]
        return self._best[1].changed(FIRST_STEP * LAST_STEP ** (trial / self._trials), self._rng)

    def tell(self, candidate: Candidate, divergence: float | None) -> None:
        if divergence is not None and (self._best is None or divergence < self._best[0]):
            self._best = divergence, candidate
