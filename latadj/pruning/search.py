"""Greedy search for the parts of a model that its task does not need: try one, judge, keep it out or put it back."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from latadj.pruning.acceptance import AcceptanceCriterion, Answers, Evaluation
from latadj.pruning.units import PruningUnit

# Whole blocks, and what each of them is made of.
BLOCKS = {"attention": "head", "feed_forward": "neurons"}


@dataclass(frozen=True)
class Cost:
    """What the full model would save without a part.

    flops : of the mean text that the model is judged on
    parameters : outside the embeddings
    """

    flops: float
    parameters: int


@dataclass
class Candidate:
    """What became of a part that was tried.

    cost_flops, cost_parameters : as in :class:`Cost`
    metric_before, loss_before : of the model as it was before
    metric_after, loss_after : of the model without the part; down to a budget, where a step takes several parts at
        once, without all of them and after the recovery
    difference : the metric after, minus the full model's, positive = better
    kept : whether the part stays in the model
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
        cls, part: PruningUnit, cost: Cost, before: Evaluation, after: Evaluation, *, kept: bool, step: int
    ) -> "Candidate":
        """The record of a part."""
        return cls(
            name=part.name,
            kind=part.kind,
            layer=part.layer,
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
    """How far a search has come: all that it needs to go on where it stopped.

    candidates : in the order in which they were tried
    orders : stage of the step under way -> names of its parts in the order in which they are tried
    step : of those that are done
    """

    candidates: list[Candidate] = field(default_factory=list)
    orders: dict[str, list[str]] = field(default_factory=dict)
    step: int = 0

    @property
    def removed(self) -> list[str]:
        """Names of the parts that are out."""
        return [candidate.name for candidate in self.candidates if not candidate.kept]

    @property
    def settled(self) -> list[str]:
        """Names of the parts that went in steps that are done."""
        return [one.name for one in self.candidates if not one.kept and one.step <= self.step]


class Subject(Protocol):
    """A model that parts are taken out of, and the texts that it is judged on.

    parts : all that can go
    costs : what each of them costs in the full model
    """

    @property
    def parts(self) -> Sequence[PruningUnit]: ...

    @property
    def costs(self) -> Mapping[PruningUnit, Cost]: ...

    def without(self, parts: Sequence[PruningUnit]) -> AbstractContextManager[Any]:
        """Take parts out inside a ``with`` block."""

    def remove(self, parts: Sequence[PruningUnit]) -> None:
        """Take parts out for good."""

    def ask(self) -> Answers:
        """What the model says of the texts it is judged on, as it stands."""

    def loss(self) -> float:
        """Its mean loss on some of these texts, which takes a fraction of the time."""

    def significance(self) -> Mapping[PruningUnit, float]:
        """How much each head and group of neurons that is left counts, by gradients on training text."""


def search(
    subject: Subject,
    judge: AcceptanceCriterion,
    trail: SearchState,
    *,
    remember: Callable[[], None] = lambda: None,
    advance: Callable[[int, str], None] = lambda steps, note: None,
) -> None:
    """Take out of a model all that the judge does not miss, from the upper layers down, coarse before fine.

    All blocks are tried first, then heads and neurons inside the blocks that stayed. Of one layer those come first
    whose absence raises the loss on some of the texts the least, since a greedy search is as good as its order.

    Parameters
    ----------
    subject : as it is after the steps of ``trail`` that are done
    trail : grows with every candidate; one that has grown already is gone on with, to the same end
    remember : called after every candidate and every order, when ``trail`` may be written down
    advance : called with the number of parts that are settled, and what became of the last
    """
    parts = {part.name: part for part in subject.parts}
    step = trail.step + 1
    now = [candidate for candidate in trail.candidates if candidate.step == step]
    subject.remove([parts[candidate.name] for candidate in now if not candidate.kept])
    gone = {parts[name] for name in trail.removed}
    tried = {candidate.name for candidate in now}
    before = judge(subject.ask())
    for stage, members in stages(subject.parts):
        if stage not in trail.orders:
            open_ = [part for part in members if part not in gone and not went_with_block(part, gone)]
            trail.orders[stage] = [part.name for part in _ordered(subject, open_)]
            remember()
        settled = len(members) - len(trail.orders[stage])
        if settled:
            advance(settled, f"{stage} is out already")
        for name in trail.orders[stage]:
            part = parts[name]
            if name in tried:
                advance(1, "as before")
                continue
            if is_last(part, subject.parts, gone):
                # Without it nothing is left of its block, and that was tried.
                advance(1, f"{name} is the last of its block")
                continue
            with subject.without([part]):
                after = judge(subject.ask())
            found = Candidate.of(part, subject.costs[part], before, after, kept=not after.passes, step=step)
            trail.candidates.append(found)
            if after.passes:
                subject.remove([part])
                gone.add(part)
                before = after
            remember()
            advance(1, f"{name} {'out' if after.passes else 'stays'}")


def stages(parts: Sequence[PruningUnit]) -> Iterator[tuple[str, list[PruningUnit]]]:
    """Parts that are tried one after the other, with a name: blocks of all layers from above, then what is in them."""
    layers = sorted({part.layer for part in parts}, reverse=True)
    for what, coarse in (("blocks", True), ("inside", False)):
        for layer in layers:
            members = [part for part in parts if part.layer == layer and (part.kind in BLOCKS) == coarse]
            if members:
                yield f"{what} of layer {layer + 1}", members


def _ordered(subject: Subject, parts: list[PruningUnit]) -> list[PruningUnit]:
    """Parts by what their absence does to the loss, the least first; last those that nothing was asked about."""
    if len(parts) < 2:
        return parts
    losses, others = losses_without(subject, parts)
    return [*sorted(losses, key=lambda part: losses[part]), *others]


def losses_without(
    subject: Subject, parts: Sequence[PruningUnit]
) -> tuple[dict[PruningUnit, float], list[PruningUnit]]:
    """The loss on some of the texts without each part, and the parts that it was not asked about.

    Gradients, which cost next to nothing, come before: heads and neurons that they say more of than of the median are
    left out, the least of them first.
    """
    inside = [part for part in parts if part.kind not in BLOCKS]
    others: list[PruningUnit] = []
    if len(inside) > 2:
        gradients = subject.significance()
        inside.sort(key=lambda part: gradients[part])
        others = inside[-(-len(inside) // 2) :]
    losses, left_out = {}, set(others)
    for part in parts:
        if part not in left_out:
            with subject.without([part]):
                losses[part] = subject.loss()
    return losses, others


def went_with_block(part: PruningUnit, gone: Collection[PruningUnit]) -> bool:
    """Whether the whole block that a part is in is among those that are out."""
    return any(within(part, block) for block in gone)


def is_last(part: PruningUnit, everything: Sequence[PruningUnit], gone: Collection[PruningUnit]) -> bool:
    """Whether a head or a group of neurons is all that is left of its block."""
    if part.kind in BLOCKS:
        return False
    alike = [other for other in everything if (other.kind, other.layer) == (part.kind, part.layer)]
    return all(other == part or other in gone for other in alike)


def within(part: PruningUnit, block: PruningUnit) -> bool:
    """Whether a part is a head or a group of neurons of a block."""
    return part.layer == block.layer and BLOCKS.get(block.kind) == part.kind
