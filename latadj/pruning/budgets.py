"""What a budget of pruning is counted in: parameters outside the embeddings, or the time of a pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

import numpy as np
from scipy.optimize import nnls
from transformers import PreTrainedModel

from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attached
from latadj.pruning.search import BLOCKS, Cost
from latadj.pruning.size import mean_flops, parameters
from latadj.pruning.surgery import remaining_structure
from latadj.pruning.units import PruningUnit


class ParameterBudget:
    """A budget is the share of the parameters outside the embeddings that may stay.

    Parameters
    ----------
    model : still whole
    costs : of all of its parts
    """

    def __init__(self, model: PreTrainedModel, costs: Mapping[PruningUnit, Cost]) -> None:
        self.model, self.total = model, float(parameters(model))
        self.savings = {part: float(cost.parameters) for part, cost in costs.items()}

    def left(self) -> float:
        return float(parameters(self.model))

    def allowed(self, budget: float) -> float:
        return budget * self.total

    def met(self, budget: float) -> bool:
        return self.left() <= self.allowed(budget)


@dataclass(frozen=True)
class Structured:
    """What the time of a pass depends on.

    attention, feed_forward : FLOPs of the blocks of all layers, on the mean text
    attention_blocks, feed_forward_blocks : how many of them there are
    """

    attention: float
    feed_forward: float
    attention_blocks: int
    feed_forward_blocks: int

    @classmethod
    def of(cls, model: PreTrainedModel, lengths: np.ndarray) -> "Structured":
        """That of a model as it stands, with elimination attached."""
        shapes, reads = layer_shapes(model), attached(model).reads
        every = mean_flops(shapes, lengths, reads)
        attention = mean_flops([replace(shape, feed_forward=0) for shape in shapes], lengths, reads)
        lefts = remaining_structure(model)
        return cls(
            attention,
            every - attention,
            sum(bool(left.heads) for left in lefts),
            sum(bool(left.neurons) for left in lefts),
        )


@dataclass(frozen=True)
class TimeModel:
    """Time of a pass, ``start`` plus what each FLOP and each block takes: fitted to passes without some parts."""

    start: float
    per_attention_flop: float
    per_feed_forward_flop: float
    per_attention_block: float
    per_feed_forward_block: float

    @classmethod
    def fit(cls, measured: Sequence[tuple[Structured, float]]) -> "TimeModel":
        """The model, no part of it negative, that comes nearest to measured times."""
        rows = np.array([[1.0, *asdict(structured).values()] for structured, _ in measured])
        scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
        times = np.array([time for _, time in measured])
        # In relative errors: the small models are those that a budget ends at.
        found, _ = nnls(rows / scale / times[:, None], np.ones(len(times)))
        return cls(*(float(value) for value in found / scale))

    def time(self, structured: Structured) -> float:
        """Time of a pass."""
        return self.start + float(
            structured.attention * self.per_attention_flop
            + structured.feed_forward * self.per_feed_forward_flop
            + structured.attention_blocks * self.per_attention_block
            + structured.feed_forward_blocks * self.per_feed_forward_block
        )

    def saving(self, part: PruningUnit, cost: Cost) -> float:
        """Time that the full model saves without a part."""
        attends = part.block == "attention"
        found = cost.flops * (self.per_attention_flop if attends else self.per_feed_forward_flop)
        if part.kind in BLOCKS:
            found += self.per_attention_block if attends else self.per_feed_forward_block
        return found


class LatencyBudget:
    """A budget is a speedup over the full model, foreseen by a time model and met when a clock says so.

    Parameters
    ----------
    model : still whole
    costs : of all of its parts
    lengths : of the texts that passes run
    times : of pruned models, in passes of the full one
    clock : the speedup of the model as it stands, measured
    correction : of what is foreseen, as clocks before this run found it; 1 where none was asked
    """

    def __init__(
        self,
        model: PreTrainedModel,
        costs: Mapping[PruningUnit, Cost],
        lengths: np.ndarray,
        times: TimeModel,
        clock: Callable[[], float],
        correction: float = 1.0,
    ) -> None:
        self.model, self.lengths, self.times, self.clock = model, lengths, times, clock
        self.total = self.left()
        self.savings = {part: times.saving(part, cost) for part, cost in costs.items()}
        self.correction = correction

    def left(self) -> float:
        return self.times.time(Structured.of(self.model, self.lengths))

    def allowed(self, budget: float) -> float:
        return self.correction / budget

    def met(self, budget: float) -> bool:
        """Ask the clock; where it is slower than was foreseen, the rest of the way is foreseen by what it said.

        Only the middle one of three answers is believed when it would have more taken out, which is not taken back: one
        hiccup of the machine would go far beyond the budget.
        """
        measured = self.clock()
        if measured < budget:
            measured = median([measured, self.clock(), self.clock()])
        if measured >= budget:
            return True
        # What a clock says scatters, so a model that missed narrowly has at least a little more to go.
        self.correction = min(self.left() * measured, 0.99 * self.correction)
        return False
