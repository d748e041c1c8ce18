"""Pruning down to a budget: a step, a short recovery, and again, as a model collapses without training in between."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.search import (
    BLOCKS,
    Candidate,
    SearchState,
    Subject,
    is_last,
    losses_without,
    went_with_block,
    within,
)
from latadj.pruning.units import PruningUnit

# Of what is left to a budget, a step takes at least this share of all, so that it comes to an end.
LEAST_STEP = 1e-3


class Budget(Protocol):
    """What a budget is counted in.

    savings : what the full model saves without each part alone; heads and neurons add up
    total : what the full model costs
    """

    @property
    def savings(self) -> Mapping[PruningUnit, float]: ...

    @property
    def total(self) -> float: ...

    def left(self) -> float:
        """What the model costs as it stands."""

    def allowed(self, budget: float) -> float:
        """What it may cost under a budget."""

    def met(self, budget: float) -> bool:
        """Whether the model as it stands meets a budget; told once ``left`` says that it should."""


class RecoverableModel(Subject, Protocol):
    """A model that recovers between steps."""

    def recover(self, step: int, *, last: bool) -> None:
        """Fine-tune the model as it stands; ``last``: at a budget, for as long as that may take."""


@dataclass
class PendingStep:
    """A step that was decided on: a clock that is asked again may answer otherwise.

    parts : names of those that go
    last : whether the budget is met by that
    """

    parts: list[str]
    last: bool


@dataclass
class Steps(SearchState):
    """How far gradual pruning has come.

    reached : budgets that are met
    under_way : the step after those, from when it is decided on to its end
    """

    reached: list[float] = field(default_factory=list)
    under_way: PendingStep | None = None


def shrink(
    patient: RecoverableModel,
    judge: AcceptanceCriterion,
    purse: Budget,
    budgets: Sequence[float],
    steps: Steps,
    *,
    share: float,
    decided: Callable[[], None] = lambda: None,
    remember: Callable[[], None] = lambda: None,
    reached: Callable[[float, Evaluation], None] = lambda budget, verdict: None,
    advance: Callable[[float, str], None] = lambda left, note: None,
) -> None:
    """Remove the parts of least harm for what they save, step by step, until all budgets are met in turn.

    The harm of a part is the rise of the loss without it, measured anew before each step, as recovery moves what a
    part does to others. Gradients alone are no measure of it: they add up what each neuron does at the margin, and so
    call a feed-forward block heavy that the model does not miss at all.

    Parameters
    ----------
    patient : as it is after ``steps``
    budgets : the mildest first
    steps : grows with every step; one that has grown already is gone on with
    share : of the full model's cost that a step takes
    decided : called when a step begins, when ``steps`` may be written down; the model is to be that of the step before
    remember : called after every step, when ``steps`` and the model may be written down
    reached : called when a budget is met and the model has recovered, with the judge's verdict
    advance : called after every step with the share of the cost that is left
    """
    parts = {part.name: part for part in patient.parts}
    before = judge(patient.ask())
    for budget in budgets:
        if budget in steps.reached:
            continue
        while True:
            if steps.under_way is not None:
                patient.remove([parts[name] for name in steps.under_way.parts])
            else:
                steps.under_way = _decide(patient, purse, budget, {parts[name] for name in steps.removed}, share)
                if steps.under_way is None:
                    continue  # a clock has just said that there is more to go
                decided()
            chosen, last = [parts[name] for name in steps.under_way.parts], steps.under_way.last
            patient.recover(steps.step + 1, last=last)
            steps.step, steps.under_way = steps.step + 1, None
            after = judge(patient.ask())
            for part in chosen:
                found = Candidate.of(part, patient.costs[part], before, after, kept=False, step=steps.step)
                steps.candidates.append(found)
            before = after
            if last:
                reached(budget, after)
                steps.reached.append(budget)
            remember()
            advance(purse.left() / purse.total, f"step {steps.step}: {after.metric:.4f}")
            if last:
                break


def _decide(
    patient: RecoverableModel, purse: Budget, budget: float, gone: set[PruningUnit], share: float
) -> PendingStep | None:
    """Take out what the next step takes; None where that is nothing and yet the budget is not met."""
    wanted = purse.left() - purse.allowed(budget)
    amount = max(min(wanted, share * purse.total), LEAST_STEP * purse.total)
    chosen = [] if wanted <= 0 else choose(patient.parts, gone, _harm(patient, gone), purse.savings, amount)
    patient.remove(chosen)
    last = purse.left() <= purse.allowed(budget) and purse.met(budget)
    if chosen or last:
        return PendingStep([part.name for part in chosen], last)
    if wanted > 0 or all(_rest(part, patient.parts, gone) is None for part in patient.parts):
        raise ValueError(f"prune.budget={budget:g}: nothing is left that could go; give a milder one")
    return None


def _harm(patient: RecoverableModel, gone: set[PruningUnit]) -> dict[PruningUnit, float]:
    """How far the loss rises without each part that can go; half of the heads and neurons are not asked about."""
    open_ = [part for part in patient.parts if _rest(part, patient.parts, gone) is not None]
    before = patient.loss()
    return {part: loss - before for part, loss in losses_without(patient, open_)[0].items()}


def choose(
    everything: Sequence[PruningUnit],
    gone: set[PruningUnit],
    harm: Mapping[PruningUnit, float],
    savings: Mapping[PruningUnit, float],
    amount: float,
) -> list[PruningUnit]:
    """Parts of least harm for what they save that save ``amount`` together, or all that can go if they cannot.

    Parameters
    ----------
    everything : all parts of the model
    gone : those that are out
    harm : of the parts that may be chosen
    savings : of each part in the full model
    """
    best = found = _greedy(everything, gone, harm, savings, amount)
    # A block that saves the last bit, and far more, may cost more than the few small parts that were wanted instead.
    barred: set[PruningUnit] = set()
    while found.saved >= amount and (last := [*found.gains][-1]).kind in BLOCKS:
        barred.add(last)
        found = _greedy(everything, gone, harm, savings, amount, barred)
        if found.saved >= amount and found.hurt < best.hurt:
            best = found
    return best.parts(amount)


@dataclass
class _Choice:
    """Parts that were chosen, with what each saves and costs after those before it."""

    gains: dict[PruningUnit, "_Gain"] = field(default_factory=dict)

    @property
    def saved(self) -> float:
        return sum(gain.saving for gain in self.gains.values())

    @property
    def hurt(self) -> float:
        return sum(max(gain.hurt, 0.0) for gain in self.gains.values())

    def parts(self, amount: float) -> list[PruningUnit]:
        """The parts, without those that went with their block, and without what need not go to save ``amount``."""
        found = [part for part in self.gains if part.kind in BLOCKS or not went_with_block(part, self.gains)]
        saved = self.saved
        # The last one may have saved so much that others need not go; that one seems to help by its absence is no
        # reason, as a dozen of them are mostly chance.
        for part in sorted(found, key=lambda part: -self.gains[part].hurt):
            gain = self.gains[part]
            swallowed = any(within(other, part) for other in self.gains)  # parts that stood out before their block did
            if not swallowed and saved - gain.saving >= amount:
                saved -= gain.saving
                found.remove(part)
        return found


def _greedy(
    everything: Sequence[PruningUnit],
    gone: set[PruningUnit],
    harm: Mapping[PruningUnit, float],
    savings: Mapping[PruningUnit, float],
    amount: float,
    barred: Collection[PruningUnit] = (),
) -> _Choice:
    """Parts by their harm for what they save, the least first, until they save ``amount``; never those barred."""
    out, choice = set(gone), _Choice()
    while choice.saved < amount:
        best: tuple[tuple[float, float], PruningUnit, _Gain] | None = None
        for part in everything:
            rest = None if part in barred else _rest(part, everything, out)
            if rest is None or part not in harm:
                continue
            saving, hurt = savings[part], harm[part]
            if part.kind in BLOCKS:
                hurt -= sum(harm[other] for other in choice.gains if within(other, part))
                whole = [other for other in everything if within(other, part)]
                # What stands around the parts of a block, and those of them that are left.
                saving -= sum(savings[other] for other in whole if other not in rest)
            if saving <= 0:
                continue
            # What helps by its absence goes first, the most helpful before the largest.
            price = (max(hurt, 0.0) / saving, hurt)
            if best is None or price < best[0]:
                best = (price, part, _Gain(saving, hurt))
        if best is None:
            break
        _, part, gain = best
        choice.gains[part] = gain
        out.add(part)
    return choice


class _Gain(NamedTuple):
    """What a part saves, and what it costs, after those that were chosen before it."""

    saving: float
    hurt: float


def _rest(part: PruningUnit, everything: Sequence[PruningUnit], out: set[PruningUnit]) -> list[PruningUnit] | None:
    """The heads or neurons that go with a part; None where it is out already, or is the last of its block."""
    if part in out or went_with_block(part, out):
        return None
    if part.kind in BLOCKS:
        return [other for other in everything if within(other, part) and other not in out]
    return None if is_last(part, everything, out) else [part]
