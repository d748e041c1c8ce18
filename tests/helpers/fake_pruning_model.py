"""A model of parts with known harms, which search and shrinking cannot tell from a real one."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from latadj.pruning.acceptance import AcceptanceCriterion, Answers
from latadj.pruning.search import BLOCKS, Cost
from latadj.pruning.units import PruningUnit

TEXTS = 200


@dataclass
class Fake:
    """Each part that is missing makes ``harm`` more of the texts wrong (below 0: right), and raises the loss of all.

    harm : name of a head or group of neurons -> texts; a block's harm is that of its parts
    """

    layers: int
    harm: dict[str, float]
    heads: int = 2
    groups: int = 2
    wrong: int = 20

    def __post_init__(self):
        self.parts = [PruningUnit(kind, layer) for layer in range(self.layers) for kind in BLOCKS]
        for layer in range(self.layers):
            self.parts += [PruningUnit("head", layer, index) for index in range(self.heads)]
            self.parts += [PruningUnit("neurons", layer, index, (index,)) for index in range(self.groups)]
        self.costs = {part: Cost(10.0 * self._size(part), self._size(part)) for part in self.parts}
        self.gone: set[PruningUnit] = set()
        self.asked: list[frozenset[str]] = []
        self.recovered: list[tuple[int, bool]] = []

    def _size(self, part):
        fine = {"head": 100, "neurons": 200}
        if part.kind in fine:
            return fine[part.kind]
        count = self.heads if part.kind == "attention" else self.groups
        return count * fine[BLOCKS[part.kind]] + 10

    def inside(self, part):
        return {
            other
            for other in self.parts
            if other == part or (other.layer == part.layer and other.kind == BLOCKS.get(part.kind))
        }

    @contextmanager
    def without(self, parts):
        before = set(self.gone)
        self.remove(parts)
        yield self
        self.gone = before

    def remove(self, parts):
        for part in parts:
            self.gone |= self.inside(part)

    def total(self):
        return sum(self.harm.get(part.name, 0.0) for part in self.gone)

    def ask(self):
        self.asked.append(frozenset(part.name for part in self.gone))
        wrong = round(np.clip(self.wrong + self.total(), 0, TEXTS))
        predictions = np.ones(TEXTS, dtype=int)
        predictions[:wrong] = 0
        return Answers(predictions, np.linspace(0.1, 0.3, TEXTS) + self.loss())

    def loss(self):
        return max(self.total(), 0.0) * 1e-3

    def significance(self):
        fine = [part for part in self.parts if part.kind not in BLOCKS and part not in self.gone]
        return {part: abs(self.harm.get(part.name, 0.0)) for part in fine}

    def recover(self, step, *, last):
        self.recovered.append((step, last))

    def judge(self, tolerance=0.0):
        with self.without([]):
            full = self.ask()
        self.asked.clear()
        right = np.ones(TEXTS, dtype=int)
        return AcceptanceCriterion(
            "accuracy", right, full, tolerance=tolerance, confidence=0.9, max_loss_increase=0.0, seed=0
        )

    @property
    def left(self):
        return sum(self.costs[part].parameters for part in self.parts if part.kind in BLOCKS) - self._spent()

    def _spent(self):
        found = 0
        for block in (part for part in self.parts if part.kind in BLOCKS):
            inside = self.inside(block) - {block}
            gone = [part for part in inside if part in self.gone]
            found += self.costs[block].parameters if len(gone) == len(inside) else sum(self._size(p) for p in gone)
        return found
