"""Gradual pruning to a budget: a step, a recovery, and again, as a model collapses without training in between."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.budgets import Budget
from latadj.pruning.search import (
    Candidate,
    PrunableModel,
    SearchState,
    in_removed_block,
    is_last_of_block,
    losses_without,
)
from latadj.pruning.units import BLOCKS, PruningUnit

# A step takes at least this share of the full model's cost, so that pruning comes to an end.
LEAST_STEP = 1e-3


@dataclass
class PendingStep:
    """A step that is decided on but not done; a clock that is asked again may answer otherwise.

    units : names of those that are removed
    last : whether that meets the target
    """

    units: list[str]
    last: bool


@dataclass
class GradualState(SearchState):
    """How far gradual pruning has come.

    reached : targets that are met
    pending : the next step, from when it is decided on to its end
    """

    reached: list[float] = field(default_factory=list)
    pending: PendingStep | None = None


def prune_gradually(
    model: PrunableModel,
    criterion: AcceptanceCriterion,
    budget: Budget,
    targets: Sequence[float],
    state: GradualState,
    *,
    share: float,
    on_pending: Callable[[], None] = lambda: None,
    save: Callable[[], None] = lambda: None,
    on_reached: Callable[[float, Evaluation], None] = lambda target, evaluation: None,
    advance: Callable[[float, str], None] = lambda remaining, note: None,
) -> None:
    """Remove the units with the least loss increase for what they save, step by step, until each target is met in turn.

    The loss increase of a unit is measured anew before each step, since recovery moves what a unit does to others.
    Gradients alone do not measure it: they add up what each neuron does at the margin, and so rate a feed-forward
    block high that the model does not miss at all.

    Parameters
    ----------
    model : as it is after ``state``
    targets : the mildest first
    state : grows with every step; one that has grown already is resumed
    share : of the full model's cost that a step takes
    on_pending : called when a step begins, when ``state`` may be written down with the model of the step before
    save : called after every step, when ``state`` and the model may be written down
    on_reached : called with the evaluation of the recovered model when a target is met
    advance : called after every step with the share of the cost that remains
    """
    units = {unit.name: unit for unit in model.units}
    before = criterion(model.evaluate())
    for target in targets:
        if target in state.reached:
            continue
        while True:
            if state.pending is not None:
                model.remove([units[name] for name in state.pending.units])
            else:
                state.pending = _decide(model, budget, target, {units[name] for name in state.removed}, share)
                if state.pending is None:
                    continue  # a clock has just said that there is more to remove
                on_pending()
            chosen, last = [units[name] for name in state.pending.units], state.pending.last
            model.recover(state.step + 1, last=last)
            state.step, state.pending = state.step + 1, None
            after = criterion(model.evaluate())
            state.candidates += [
                Candidate.of(unit, model.costs[unit], before, after, kept=False, step=state.step) for unit in chosen
            ]
            before = after
            if last:
                on_reached(target, after)
                state.reached.append(target)
            save()
            advance(budget.remaining() / budget.total, f"step {state.step}: {after.metric:.4f}")
            if last:
                break


def _decide(
    model: PrunableModel, budget: Budget, target: float, removed: set[PruningUnit], share: float
) -> PendingStep | None:
    """Remove the units of the next step; None where there are none and yet the target is not met."""
    excess = budget.remaining() - budget.allowed(target)
    amount = max(min(excess, share * budget.total), LEAST_STEP * budget.total)
    chosen: list[PruningUnit] = []
    if excess > 0:
        chosen = choose_units(model.units, removed, _loss_increases(model, removed), budget.savings, amount)
    model.remove(chosen)
    last = budget.remaining() <= budget.allowed(target) and budget.met(target)
    if chosen or last:
        return PendingStep([unit.name for unit in chosen], last)
    if excess > 0 or all(_members_left(unit, model.units, removed) is None for unit in model.units):
        raise ValueError(f"prune.budget={target:g}: nothing is left that could go; give a milder one")
    return None


def _loss_increases(model: PrunableModel, removed: set[PruningUnit]) -> dict[PruningUnit, float]:
    """How far the loss rises without each unit that can be removed; half of the heads and neurons are skipped."""
    present = [unit for unit in model.units if _members_left(unit, model.units, removed) is not None]
    before = model.loss()
    return {unit: loss - before for unit, loss in losses_without(model, present)[0].items()}


def choose_units(
    units: Sequence[PruningUnit],
    removed: set[PruningUnit],
    loss_increases: Mapping[PruningUnit, float],
    savings: Mapping[PruningUnit, float],
    amount: float,
) -> list[PruningUnit]:
    """Units of least loss increase for what they save that save ``amount`` together, or all if they cannot.

    Parameters
    ----------
    units : all units of the model
    removed : those that are removed already
    loss_increases : of the units that may be chosen
    savings : of each unit in the full model
    """
    best = choice = _greedy(units, removed, loss_increases, savings, amount)
    # A block that saves the last bit, and far more, may cost more than the few small units that would have done.
    barred: set[PruningUnit] = set()
    while choice.saved >= amount and (last := [*choice.gains][-1]).kind in BLOCKS:
        barred.add(last)
        choice = _greedy(units, removed, loss_increases, savings, amount, barred)
        if choice.saved >= amount and choice.loss_increase < best.loss_increase:
            best = choice
    return best.units(amount)


class _Gain(NamedTuple):
    """What a unit saves, and how far the loss rises without it, after the units that were chosen before it."""

    saving: float
    loss_increase: float


@dataclass
class _Choice:
    """Units that were chosen, in order, each with its gain."""

    gains: dict[PruningUnit, _Gain] = field(default_factory=dict)

    @property
    def saved(self) -> float:
        return sum(gain.saving for gain in self.gains.values())

    @property
    def loss_increase(self) -> float:
        return sum(max(gain.loss_increase, 0.0) for gain in self.gains.values())

    def units(self, amount: float) -> list[PruningUnit]:
        """The units, without those that went with their block, and without what is not needed to save ``amount``."""
        chosen = [unit for unit in self.gains if unit.kind in BLOCKS or not in_removed_block(unit, self.gains)]
        saved = self.saved
        # The last one may have saved so much that others can stay; that the loss falls without them is no reason to
        # remove them, as for a dozen units that is mostly chance.
        for unit in sorted(chosen, key=lambda unit: -self.gains[unit].loss_increase):
            gain = self.gains[unit]
            includes_chosen = any(unit.contains(other) for other in self.gains)
            if not includes_chosen and saved - gain.saving >= amount:
                saved -= gain.saving
                chosen.remove(unit)
        return chosen


def _greedy(
    units: Sequence[PruningUnit],
    removed: set[PruningUnit],
    loss_increases: Mapping[PruningUnit, float],
    savings: Mapping[PruningUnit, float],
    amount: float,
    barred: Collection[PruningUnit] = (),
) -> _Choice:
    """Units by their loss increase for what they save, the least first, until they save ``amount``; none barred."""
    out, choice = set(removed), _Choice()
    while choice.saved < amount:
        best: tuple[tuple[float, float], PruningUnit, _Gain] | None = None
        for unit in units:
            members = None if unit in barred else _members_left(unit, units, out)
            if members is None or unit not in loss_increases:
                continue
            saving, loss_increase = savings[unit], loss_increases[unit]
            if unit.kind in BLOCKS:
                loss_increase -= sum(loss_increases[other] for other in choice.gains if unit.contains(other))
                # What is in the block beside its units, and those of them that are left.
                saving -= sum(savings[other] for other in units if unit.contains(other) and other not in members)
            if saving <= 0:
                continue
            # Units without which the loss falls come first, the largest fall before the largest saving.
            price = (max(loss_increase, 0.0) / saving, loss_increase)
            if best is None or price < best[0]:
                best = (price, unit, _Gain(saving, loss_increase))
        if best is None:
            break
        _, unit, gain = best
        choice.gains[unit] = gain
        out.add(unit)
    return choice


def _members_left(
    unit: PruningUnit, units: Sequence[PruningUnit], removed: set[PruningUnit]
) -> list[PruningUnit] | None:
    """The heads or neurons that go with a unit; None where it is removed already, or is the last of its block."""
    if unit in removed or in_removed_block(unit, removed):
        return None
    if unit.kind in BLOCKS:
        return [other for other in units if unit.contains(other) and other not in removed]
    return None if is_last_of_block(unit, units, removed) else [unit]
