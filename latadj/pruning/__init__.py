"""Finds units of a fine-tuned model that its task does not need, and removes them from its weights for good."""

from latadj.pruning.significance import Significance
from latadj.pruning.size import parameters
from latadj.pruning.surgery import apply, remove, structure_of, without
from latadj.pruning.units import PruningUnit, units_of
from latadj.pruning.zero_fill import zero_fill_pruned

__all__ = [
    "PruningUnit",
    "Significance",
    "apply",
    "parameters",
    "remove",
    "structure_of",
    "units_of",
    "without",
    "zero_fill_pruned",
]
