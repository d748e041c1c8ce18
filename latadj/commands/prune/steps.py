"""How `latadj prune` comes to its models: searches and recoveries in turn, each written down as it ends."""

import copy
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from latadj.commands.prune.outcome import save_pruned
from latadj.commands.prune.speed import Clock
from latadj.commands.prune.state import PruneState
from latadj.commands.prune.subject import PruneSubject
from latadj.commands.prune.topk_choice import choose_hard, put_on
from latadj.config import PruneConfig
from latadj.elimination.attach import topk_attention_of
from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.budgets import LatencyBudget
from latadj.pruning.gradual import Budget, shrink
from latadj.pruning.search import search
from latadj.utils.console import progress

log = logging.getLogger("latadj")


@dataclass
class Pruning:
    """A run that may begin.

    purse, clock : where there is a budget, and where that is in time
    """

    config: PruneConfig
    subject: PruneSubject
    state: PruneState
    purse: Budget | None = None
    clock: Clock | None = None

    @property
    def work(self) -> Path:
        """Folder of the run."""
        return self.subject.work


def by_accuracy(pruning: Pruning, judge: AcceptanceCriterion, confirm: AcceptanceCriterion) -> None:
    """Take out all that does not hurt and fine-tune what is left, as often as that is asked for, and save it."""
    subject, state = pruning.subject, pruning.state
    if state.steps.step:
        _restore(pruning)
    if state.hard is not None:
        put_on(subject, state.hard)
    while state.steps.step < pruning.config.prune.rounds:
        first, out = state.steps.step == 0, len(state.steps.settled)
        with progress("pruning", len(subject.parts)) as steps:
            search(
                subject,
                judge,
                state.steps,
                remember=_remember(pruning),
                advance=steps.advance,
            )
        if first and state.hard is None:
            state.hard = choose_hard(subject, judge)
            state.write(pruning.work)
        gone = state.steps.removed
        log.info("%d of %d parts are out: %s", len(gone), len(subject.parts), ", ".join(gone) or "none")
        if len(gone) == out and not (first and topk_attention_of(subject.session.model)):
            if first:
                log.warning("nothing could go at prune.tolerance=%g: the model is saved as it was", judge.tolerance)
            break
        if subject.epochs(last=True) == 0 or not _recovered(pruning, judge):
            break
        state.steps.step, state.steps.orders = state.steps.step + 1, {}
        state.write(pruning.work, subject.session.model)
    # Asked once more, of the model as it is saved: what an undone recovery chose on these texts goes with it.
    judged, recovered_once = judge(subject.ask()), state.steps.step > 0
    state.models.append(save_pruned(subject, pruning.clock, confirm, judged, budget=None, recovered=recovered_once))
    state.write(pruning.work)


def _recovered(pruning: Pruning, judge: AcceptanceCriterion) -> bool:
    """Let the model recover; where that was no gain, it is undone."""
    subject, model = pruning.subject, pruning.subject.session.model
    before = judge(subject.ask())
    weights = copy.deepcopy(model.state_dict())
    subject.recover(pruning.state.steps.step + 1, last=True)
    after = judge(subject.ask())
    # The search looked at the metric of these texts a hundred times and took what was high, also by luck; a model
    # that was trained meanwhile need not be as lucky. The loss was no reason to take anything.
    gain = after.loss <= before.loss and not judge.clearly_worse(after)
    log.info(
        *("recovery: %s %.4f -> %.4f, loss %.4f -> %.4f%s", judge.metric, before.metric, after.metric),
        *(before.loss, after.loss, "" if gain else ", undone"),
    )
    if not gain:
        model.load_state_dict(weights)
    return gain


def _restore(pruning: Pruning) -> None:
    """Bring the model to where it was after the steps that are done."""
    parts = {part.name: part for part in pruning.subject.parts}
    pruning.subject.remove([parts[name] for name in pruning.state.steps.settled])
    pruning.state.restore(pruning.work, pruning.subject.session.model)


def to_budgets(
    pruning: Pruning, judge: AcceptanceCriterion, confirm: AcceptanceCriterion, budgets: list[float]
) -> None:
    """Shrink the model to each budget in turn, and save it there."""
    subject, state, purse = pruning.subject, pruning.state, pruning.purse
    if purse is None:
        raise TypeError("a budget needs a purse")
    model = subject.session.model
    if state.steps.step:
        _restore(pruning)
    end = purse.allowed(budgets[-1]) / purse.total

    def reached(budget: float, verdict: Evaluation) -> None:
        recovered = subject.epochs(last=True) > 0
        state.models.append(save_pruned(subject, pruning.clock, confirm, verdict, budget=budget, recovered=recovered))

    tell = _remember(pruning)

    def write(model: PreTrainedModel | None = None) -> None:
        if isinstance(purse, LatencyBudget):
            state.correction = purse.correction
        state.write(pruning.work, model)

    def remember() -> None:
        tell()
        write(model)

    with progress("pruning, percent of the way", 100) as steps:

        def advance(left: float, note: str) -> None:
            done = round(100 * min((1 - left) / max(1 - end, 1e-9), 1))
            steps.advance(max(done - steps.done, 0), f"{left:.2f} left, {note}")

        shrink(
            subject,
            judge,
            purse,
            budgets,
            state.steps,
            share=pruning.config.prune.step,
            decided=write,
            remember=remember,
            reached=reached,
            advance=advance,
        )


def _remember(pruning: Pruning) -> Any:
    """What is called after each candidate: it tells the log, and where nothing was trained writes the state down."""
    steps, trained = pruning.state.steps, bool(pruning.config.prune.budgets())
    told = len(steps.candidates)

    def remember() -> None:
        nonlocal told
        for found in steps.candidates[told:]:
            log.info(
                "%s (%.2f MFLOPs, %d parameters): %s %.4f -> %.4f, %s",
                *(found.name, found.cost_flops / 1e6, found.cost_parameters, pruning.config.task.metric),
                *(found.metric_before, found.metric_after, "kept" if found.kept else "removed"),
            )
        told = len(steps.candidates)
        if not trained:
            pruning.state.write(pruning.work)

    return remember
