"""Takes parts of a fine-tuned model out of its weights for good; knows nothing of tasks, files or configs."""

from latadj.pruning.parts import KINDS, Part, parts_of
from latadj.pruning.significance import Significance
from latadj.pruning.size import parameters
from latadj.pruning.surgery import apply, remove, structure_of, without
from latadj.pruning.whole import made_whole

__all__ = [
    "KINDS",
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
