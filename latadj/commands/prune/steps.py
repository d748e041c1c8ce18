"""How `latadj prune` gets to its models: searches and recoveries in turn, each written down as it ends."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from latadj.commands.prune.outcome import save_pruned
from latadj.commands.prune.pruning_model import PruningModel
from latadj.commands.prune.speed import Clock
from latadj.commands.prune.state import PruneState
from latadj.commands.prune.topk_choice import choose_topk, set_chosen_topk
from latadj.config import PruneConfig
from latadj.elimination.attach import topk_attention_of
from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.budgets import Budget, LatencyBudget
from latadj.pruning.gradual import prune_gradually
from latadj.pruning.search import search
from latadj.utils.console import progress

log = logging.getLogger("latadj")


@dataclass
class Pruning:
    """A run that is ready to begin.

    budget : None where accuracy is the objective
    clock : None where speed is not
    """

    config: PruneConfig
    model: PruningModel
    state: PruneState
    budget: Budget | None = None
    clock: Clock | None = None

    @property
    def work(self) -> Path:
        """Folder of the run."""
        return self.model.work

    def save(self, transformer: PreTrainedModel | None = None) -> None:
        """Write the state down, with weights that were trained since."""
        self.state.save(self.work, transformer)


def by_accuracy(pruning: Pruning, criterion: AcceptanceCriterion, holdout: AcceptanceCriterion) -> None:
    """Remove all that does not hurt and fine-tune the rest, as often as the options say, and save it."""
    model, state, searched = pruning.model, pruning.state, pruning.state.progress
    if searched.step:
        _restore(pruning)
    if state.topk is not None:
        set_chosen_topk(model, state.topk)
    while searched.step < pruning.config.prune.rounds:
        first, removed_before = searched.step == 0, len(searched.removed_in_done_steps)
        with progress("pruning", len(model.units)) as steps:
            search(model, criterion, searched, save=_log_and_save(pruning, pruning.save), advance=steps.advance)
        if first and state.topk is None:
            state.topk = choose_topk(model, criterion)
            pruning.save()
        removed = searched.removed
        log.info("%d of %d parts are out: %s", len(removed), len(model.units), ", ".join(removed) or "none")
        if len(removed) == removed_before and not (first and topk_attention_of(model.transformer)):
            if first:
                log.warning("nothing could go at prune.tolerance=%g: the model is saved as it was", criterion.tolerance)
            break
        if model.epochs(last=True) == 0 or not _recovered(pruning, criterion):
            break
        searched.step, searched.orders = searched.step + 1, {}
        pruning.save(model.transformer)
    # Evaluated once more, as it is saved: what an undone recovery chose on these texts is chosen anew.
    evaluation, recovered = criterion(model.evaluate()), searched.step > 0
    state.models.append(save_pruned(model, pruning.clock, holdout, evaluation, budget=None, recovered=recovered))
    pruning.save()


def _recovered(pruning: Pruning, criterion: AcceptanceCriterion) -> bool:
    """Let the model recover; undo it if that was no gain."""
    model, transformer = pruning.model, pruning.model.transformer
    before = criterion(model.evaluate())
    weights = copy.deepcopy(transformer.state_dict())
    model.recover(pruning.state.progress.step + 1, last=True)
    after = criterion(model.evaluate())
    # The search looked at the metric of these texts a hundred times and took what was high, also by luck; a model
    # that was trained since need not be as lucky. The loss was no reason to take anything.
    gain = after.loss <= before.loss and not criterion.clearly_worse(after)
    log.info(
        *("recovery: %s %.4f -> %.4f, loss %.4f -> %.4f%s", criterion.metric, before.metric, after.metric),
        *(before.loss, after.loss, "" if gain else ", undone"),
    )
    if not gain:
        transformer.load_state_dict(weights)
    return gain


def _restore(pruning: Pruning) -> None:
    """Bring the model to where it was after the steps that are done."""
    units = {unit.name: unit for unit in pruning.model.units}
    pruning.model.remove([units[name] for name in pruning.state.progress.removed_in_done_steps])
    pruning.state.restore(pruning.work, pruning.model.transformer)


def to_budgets(
    pruning: Pruning, criterion: AcceptanceCriterion, holdout: AcceptanceCriterion, targets: list[float]
) -> None:
    """Prune the model to each target in turn, and save it there."""
    model, state, budget = pruning.model, pruning.state, pruning.budget
    if budget is None:
        raise TypeError("a target needs a budget")
    if state.progress.step:
        _restore(pruning)
    end = budget.allowed(targets[-1]) / budget.total

    def on_reached(target: float, evaluation: Evaluation) -> None:
        recovered = model.epochs(last=True) > 0
        state.models.append(save_pruned(model, pruning.clock, holdout, evaluation, budget=target, recovered=recovered))

    def save(transformer: PreTrainedModel | None = None) -> None:
        if isinstance(budget, LatencyBudget):
            state.correction = budget.correction
        pruning.save(transformer)

    with progress("pruning, percent of the way", 100) as steps:

        def advance(remaining: float, note: str) -> None:
            done = round(100 * min((1 - remaining) / max(1 - end, 1e-9), 1))
            steps.advance(max(done - steps.done, 0), f"{remaining:.2f} left, {note}")

        prune_gradually(
            *(model, criterion, budget, targets, state.progress),
            share=pruning.config.prune.step,
            on_pending=save,
            save=_log_and_save(pruning, lambda: save(model.transformer)),
            on_reached=on_reached,
            advance=advance,
        )


def _log_and_save(pruning: Pruning, save: Callable[[], None]) -> Callable[[], None]:
    """``save``, after the candidates since the last call were logged."""
    progressed = pruning.state.progress
    logged = len(progressed.candidates)

    def log_and_save() -> None:
        nonlocal logged
        for candidate in progressed.candidates[logged:]:
            log.info(
                "%s (%.2f MFLOPs, %d parameters): %s %.4f -> %.4f, %s",
                *(candidate.name, candidate.cost_flops / 1e6, candidate.cost_parameters, pruning.config.task.metric),
                *(candidate.metric_before, candidate.metric_after, "kept" if candidate.kept else "removed"),
            )
        logged = len(progressed.candidates)
        save()

    return log_and_save
