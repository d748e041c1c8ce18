"""Budgets of pruning: parameters outside the embeddings, or the time of a forward pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

import numpy as np
from scipy.optimize import nnls
from transformers import PreTrainedModel

from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attached
from latadj.elimination.cost import mean_flops
from latadj.pruning.search import Cost
from latadj.pruning.surgery import parameter_count, remaining_structure
from latadj.pruning.units import BLOCKS, PruningUnit


class ParameterBudget:
    """A target is the share of the parameters outside the embeddings that may stay.

    Parameters
    ----------
    model : the full model, which is pruned later
    costs : of all of its units

    ``savings`` says what the full model saves without each unit alone, ``total`` what the full model costs.
    """

    def __init__(self, model: PreTrainedModel, costs: Mapping[PruningUnit, Cost]) -> None:
        self.model, self.total = model, float(parameter_count(model))
        self.savings = {unit: float(cost.parameters) for unit, cost in costs.items()}

    def remaining(self) -> float:
        """What the model costs as it stands."""
        return float(parameter_count(self.model))

    def allowed(self, target: float) -> float:
        """What it may cost at a target."""
        return target * self.total

    def met(self, target: float) -> bool:
        """Whether the model as it stands meets a target; called once ``remaining`` says that it should."""
        return self.remaining() <= self.allowed(target)


@dataclass(frozen=True)
class LatencyFeatures:
    """What the time of a pass depends on.

    attention, feed_forward : FLOPs of the blocks of all layers, on the mean text
    attention_blocks, feed_forward_blocks : how many of them there are
    """

    attention: float
    feed_forward: float
    attention_blocks: int
    feed_forward_blocks: int

    @classmethod
    def of(cls, model: PreTrainedModel, lengths: np.ndarray) -> "LatencyFeatures":
        """Those of a model as it stands, with elimination attached."""
        shapes, reads = layer_shapes(model), attached(model).reads
        total = mean_flops(shapes, lengths, reads)
        attention = mean_flops([replace(shape, feed_forward=0) for shape in shapes], lengths, reads)
        structures = remaining_structure(model)
        return cls(
            attention,
            total - attention,
            sum(bool(structure.heads) for structure in structures),
            sum(bool(structure.neurons) for structure in structures),
        )


@dataclass(frozen=True)
class TimeModel:
    """Time of a pass, ``start`` plus what each FLOP and each block takes; fitted to passes of pruned models."""

    start: float
    per_attention_flop: float
    per_feed_forward_flop: float
    per_attention_block: float
    per_feed_forward_block: float

    @classmethod
    def fit(cls, measured: Sequence[tuple[LatencyFeatures, float]]) -> "TimeModel":
        """The model with coefficients of at least 0 that is nearest to measured times."""
        rows = np.array([[1.0, *asdict(features).values()] for features, _ in measured])
        scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
        times = np.array([time for _, time in measured])
        # In relative errors: the small models are those that a budget ends at.
        coefficients, _ = nnls(rows / scale / times[:, None], np.ones(len(times)))
        return cls(*(float(value) for value in coefficients / scale))

    def time(self, features: LatencyFeatures) -> float:
        """Time of a pass."""
        return self.start + float(
            features.attention * self.per_attention_flop
            + features.feed_forward * self.per_feed_forward_flop
            + features.attention_blocks * self.per_attention_block
            + features.feed_forward_blocks * self.per_feed_forward_block
        )

    def saving(self, unit: PruningUnit, cost: Cost) -> float:
        """Time that the full model saves without a unit."""
        attention = unit.block == "attention"
        saved = cost.flops * (self.per_attention_flop if attention else self.per_feed_forward_flop)
        if unit.kind in BLOCKS:
            saved += self.per_attention_block if attention else self.per_feed_forward_block
        return saved


class LatencyBudget:
    """A target is a speedup over the full model, predicted by a time model and met when a clock confirms it.

    Parameters
    ----------
    model : the full model, which is pruned later
    costs : of all of its units
    lengths : of the texts that passes run
    times : of pruned models, in passes of the full one
    clock : measures the speedup of the model as it stands
    correction : of the predictions, by what the clock measured before this run was resumed; else 1
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
        self.total = self.remaining()
        self.savings = {unit: times.saving(unit, cost) for unit, cost in costs.items()}
        self.correction = correction

    def remaining(self) -> float:
        return self.times.time(LatencyFeatures.of(self.model, self.lengths))

    def allowed(self, target: float) -> float:
        return self.correction / target

    def met(self, target: float) -> bool:
        """Ask the clock; where it is slower than predicted, later predictions are corrected by what it measured.

        Removing more cannot be undone, so a clock that asks for it is read twice more and the median decides: one
        hiccup of the machine would go far beyond the target.
        """
        measured = self.clock()
        if measured < target:
            measured = median([measured, self.clock(), self.clock()])
        if measured >= target:
            return True
        # Measurements scatter, so a model that missed narrowly has at least a little more to go.
        self.correction = min(self.remaining() * measured, 0.99 * self.correction)
        return False


# Both count heads and neurons alike, so that those of several units add up.
Budget = ParameterBudget | LatencyBudget
