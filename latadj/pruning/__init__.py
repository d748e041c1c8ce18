"""Finds units of a fine-tuned model that its task does not need, and removes them from its weights for good."""

from latadj.pruning.ordering import UnitOrder, order_by, reorder
from latadj.pruning.surgery import apply, parameter_count, remove, structure_of, without, zero_fill_pruned
from latadj.pruning.units import PruningUnit, Significance, units_of

__all__ = [
    "PruningUnit",
    "Significance",
    "UnitOrder",
    "apply",
    "order_by",
    "parameter_count",
    "remove",
    "reorder",
    "structure_of",
    "units_of",
    "without",
    "zero_fill_pruned",
]
