"""Finds parts of a fine-tuned model that its task does not need, and takes them out of its weights for good."""

from latadj.pruning.parts import Part, parts_of
from latadj.pruning.significance import Significance
from latadj.pruning.size import parameters
from latadj.pruning.surgery import apply, remove, structure_of, without
from latadj.pruning.whole import made_whole

__all__ = [
    "Part",
    "Significance",
    "apply",
    "made_whole",
    "parameters",
    "parts_of",
    "remove",
    "structure_of",
    "without",
]
