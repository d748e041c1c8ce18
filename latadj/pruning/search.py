"""Greedy search for the units that a task does not need: remove one, evaluate, keep it out or put it back."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation, ScoredPredictions
from latadj.pruning.units import BLOCKS, PruningUnit


@dataclass(frozen=True)
class Cost:
    """What the full model saves without a unit.

    flops : of the mean text that the model is evaluated on
    parameters : outside the embeddings
    """

    flops: float
    parameters: int


@dataclass
class Candidate:
    """What became of a unit that was tried.

    cost_flops, cost_parameters : as in :class:`Cost`
    metric_before, loss_before : of the model as it was before
    metric_after, loss_after : of the model without the unit; in gradual pruning, where a step removes several units at
        once, without all of them and after the recovery
    difference : the metric after, minus the full model's, positive = better
    kept : whether the unit stays in the model
    step : counted from 1; the model recovers after each
    """

    name: str
    kind: str
    layer: int
    cost_flops: float
    cost_parameters: int
    metric_before: float
    metric_after: float
    loss_before: float
    loss_after: float
    difference: float
    difference_ci: tuple[float, float]
    kept: bool
    step: int

    @classmethod
    def of(
        cls, unit: PruningUnit, cost: Cost, before: Evaluation, after: Evaluation, *, kept: bool, step: int
    ) -> "Candidate":
        """The record of a unit."""
        return cls(
            name=unit.name,
            kind=unit.kind,
            layer=unit.layer,
            cost_flops=cost.flops,
            cost_parameters=cost.parameters,
            metric_before=before.metric,
            metric_after=after.metric,
            loss_before=before.loss,
            loss_after=after.loss,
            difference=after.difference,
            difference_ci=after.difference_ci,
            kept=kept,
            step=step,
        )


@dataclass
class SearchState:
    """How far a search has come: all that it needs to be resumed.

    candidates : in the order in which they were tried
    orders : stage of the running step -> names of its units in the order in which they are tried
    step : number of steps that are done
    """

    candidates: list[Candidate] = field(default_factory=list)
    orders: dict[str, list[str]] = field(default_factory=dict)
    step: int = 0

    @property
    def removed(self) -> list[str]:
        """Names of the units that are removed."""
        return [candidate.name for candidate in self.candidates if not candidate.kept]

    @property
    def removed_in_done_steps(self) -> list[str]:
        """Names of the units that were removed in steps that are done."""
        return [one.name for one in self.candidates if not one.kept and one.step <= self.step]


class PrunableModel(Protocol):
    """A model from which units are removed and that is fine-tuned, and the texts that it is evaluated on.

    units : all that can be removed
    costs : what each of them costs in the full model
    """

    @property
    def units(self) -> Sequence[PruningUnit]: ...

    @property
    def costs(self) -> Mapping[PruningUnit, Cost]: ...

    def without(self, units: Sequence[PruningUnit]) -> AbstractContextManager[Any]:
        """Remove units inside a ``with`` block."""

    def remove(self, units: Sequence[PruningUnit]) -> None:
        """Remove units for good."""

    def evaluate(self) -> ScoredPredictions:
        """Predictions and losses of the model as it stands."""

    def loss(self) -> float:
        """Mean loss on a sample of the texts, which takes a fraction of the time."""

    def recover(self, step: int, *, last: bool) -> None:
        """Fine-tune the model as it stands; ``last``: a target is met, so that it may take longer."""

    def significance(self) -> Mapping[PruningUnit, float]:
        """How much each remaining head and group of neurons matters, by gradients on training text."""


def search(
    model: PrunableModel,
    criterion: AcceptanceCriterion,
    state: SearchState,
    *,
    save: Callable[[], None] = lambda: None,
    advance: Callable[[int, str], None] = lambda units, note: None,
) -> None:
    """Remove every unit without which the model passes, from the upper layers down, coarse before fine.

    All blocks are tried first, then heads and neurons inside the blocks that stayed. Of one layer those come first
    whose absence raises the loss on the sample the least, since a greedy search is as good as its order.

    Parameters
    ----------
    model : as it is after the steps of ``state`` that are done
    state : grows with every candidate; one that has grown already is resumed, with the same result
    save : called after every candidate and every order, when ``state`` may be written down
    advance : called with the number of units that are decided on, and what became of the last
    """
    units = {unit.name: unit for unit in model.units}
    step = state.step + 1
    resumed = [candidate for candidate in state.candidates if candidate.step == step]
    model.remove([units[candidate.name] for candidate in resumed if not candidate.kept])
    removed = {units[name] for name in state.removed}
    tried = {candidate.name for candidate in resumed}
    before = criterion(model.evaluate())
    for stage, members in stages(model.units):
        if stage not in state.orders:
            present = [unit for unit in members if unit not in removed and not in_removed_block(unit, removed)]
            state.orders[stage] = [unit.name for unit in _ordered(model, present)]
            save()
        if absent := len(members) - len(state.orders[stage]):
            advance(absent, f"{stage} is out already")
        for name in state.orders[stage]:
            unit = units[name]
            if name in tried:
                advance(1, "as before")
                continue
            if is_last_of_block(unit, model.units, removed):
                # Without it nothing is left of its block, and that was tried.
                advance(1, f"{name} is the last of its block")
                continue
            with model.without([unit]):
                after = criterion(model.evaluate())
            state.candidates.append(
                Candidate.of(unit, model.costs[unit], before, after, kept=not after.passes, step=step)
            )
            if after.passes:
                model.remove([unit])
                removed.add(unit)
                before = after
            save()
            advance(1, f"{name} {'out' if after.passes else 'stays'}")


def stages(units: Sequence[PruningUnit]) -> Iterator[tuple[str, list[PruningUnit]]]:
    """Units that are tried one after the other, with a name: blocks of all layers from above, then what is in them."""
    layers = sorted({unit.layer for unit in units}, reverse=True)
    for what, coarse in (("blocks", True), ("inside", False)):
        for layer in layers:
            members = [unit for unit in units if unit.layer == layer and (unit.kind in BLOCKS) == coarse]
            if members:
                yield f"{what} of layer {layer + 1}", members


def _ordered(model: PrunableModel, units: list[PruningUnit]) -> list[PruningUnit]:
    """Units by the loss without them, the least first; those without a measured loss last."""
    if len(units) < 2:
        return units
    losses, skipped = losses_without(model, units)
    return [*sorted(losses, key=lambda unit: losses[unit]), *skipped]


def losses_without(
    model: PrunableModel, units: Sequence[PruningUnit]
) -> tuple[dict[PruningUnit, float], list[PruningUnit]]:
    """The loss on the sample without each unit, and the units for which it was not measured.

    Gradients cost next to nothing and come before: heads and groups of neurons of more than median significance are
    skipped, the least significant of them first.
    """
    fine = [unit for unit in units if unit.kind not in BLOCKS]
    skipped: list[PruningUnit] = []
    if len(fine) > 2:
        significance = model.significance()
        fine.sort(key=lambda unit: significance[unit])
        skipped = fine[-(-len(fine) // 2) :]
    losses, skip = {}, set(skipped)
    for unit in units:
        if unit not in skip:
            with model.without([unit]):
                losses[unit] = model.loss()
    return losses, skipped


def in_removed_block(unit: PruningUnit, removed: Collection[PruningUnit]) -> bool:
    """Whether the whole block that a unit is in is removed."""
    return any(block.contains(unit) for block in removed)


def is_last_of_block(unit: PruningUnit, units: Sequence[PruningUnit], removed: Collection[PruningUnit]) -> bool:
    """Whether a head or a group of neurons is all that is left of its block."""
    if unit.kind in BLOCKS:
        return False
    alike = [other for other in units if (other.kind, other.layer) == (unit.kind, unit.layer)]
    return all(other == unit or other in removed for other in alike)
