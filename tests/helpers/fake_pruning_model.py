"""A model of units with known harms, which search and shrinking cannot tell from a real one."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from latadj.pruning.acceptance import AcceptanceCriterion, ScoredPredictions
from latadj.pruning.search import Cost
from latadj.pruning.units import BLOCKS, PruningUnit

TEXTS = 200


@dataclass
class Fake:
    """Each unit that is missing makes ``harm`` more of the texts wrong (below 0: right), and raises the loss of all.

    harm : name of a head or group of neurons -> texts; a block's harm is that of its units
    """

    layers: int
    harm: dict[str, float]
    heads: int = 2
    groups: int = 2
    wrong: int = 20

    def __post_init__(self):
        self.units = [PruningUnit(kind, layer) for layer in range(self.layers) for kind in BLOCKS]
        for layer in range(self.layers):
            self.units += [PruningUnit("head", layer, index) for index in range(self.heads)]
            self.units += [PruningUnit("neurons", layer, index, (index,)) for index in range(self.groups)]
        self.costs = {unit: Cost(10.0 * self._size(unit), self._size(unit)) for unit in self.units}
        self.removed: set[PruningUnit] = set()
        self.evaluated: list[frozenset[str]] = []
        self.recovered: list[tuple[int, bool]] = []

    def _size(self, unit):
        fine = {"head": 100, "neurons": 200}
        if unit.kind in fine:
            return fine[unit.kind]
        count = self.heads if unit.kind == "attention" else self.groups
        return count * fine[BLOCKS[unit.kind]] + 10

    def inside(self, unit):
        return {
            other
            for other in self.units
            if other == unit or (other.layer == unit.layer and other.kind == BLOCKS.get(unit.kind))
        }

    @contextmanager
    def without(self, units):
        before = set(self.removed)
        self.remove(units)
        yield self
        self.removed = before

    def remove(self, units):
        for unit in units:
            self.removed |= self.inside(unit)

    def loss_increase(self):
        return sum(self.harm.get(unit.name, 0.0) for unit in self.removed)

    def evaluate(self):
        self.evaluated.append(frozenset(unit.name for unit in self.removed))
        wrong = round(np.clip(self.wrong + self.loss_increase(), 0, TEXTS))
        predictions = np.ones(TEXTS, dtype=int)
        predictions[:wrong] = 0
        return ScoredPredictions(predictions, np.linspace(0.1, 0.3, TEXTS) + self.loss())

    def loss(self):
        return max(self.loss_increase(), 0.0) * 1e-3

    def significance(self):
        fine = [unit for unit in self.units if unit.kind not in BLOCKS and unit not in self.removed]
        return {unit: abs(self.harm.get(unit.name, 0.0)) for unit in fine}

    def recover(self, step, *, last):
        self.recovered.append((step, last))

    def criterion(self, tolerance=0.0):
        with self.without([]):
            full = self.evaluate()
        self.evaluated.clear()
        right = np.ones(TEXTS, dtype=int)
        return AcceptanceCriterion(
            "accuracy", right, full, tolerance=tolerance, confidence=0.9, max_loss_increase=0.0, seed=0
        )

    @property
    def remaining(self):
        return sum(self.costs[unit].parameters for unit in self.units if unit.kind in BLOCKS) - self._spent()

    def _spent(self):
        found = 0
        for block in (unit for unit in self.units if unit.kind in BLOCKS):
            inside = self.inside(block) - {block}
            removed = [unit for unit in inside if unit in self.removed]
            found += (
                self.costs[block].parameters if len(removed) == len(inside) else sum(self._size(p) for p in removed)
            )
        return found
