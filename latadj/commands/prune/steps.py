"""How `latadj prune` gets to its models: searches and recoveries in turn, then a check on held-out text."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, read_metadata
from latadj.checkpoints.weight_files import read_headers
from latadj.commands.prune.pruning_model import PruningModel
from latadj.commands.prune.speed import Clock
from latadj.commands.prune.state import PruneState
from latadj.commands.prune.topk_choice import choose_topk, set_chosen_topk
from latadj.config import PruneConfig
from latadj.elimination.attach import topk_attention_of
from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.budgets import Budget, LatencyBudget
from latadj.pruning.evaluator import PruningEvaluator
from latadj.pruning.gradual import prune_gradually
from latadj.pruning.search import search
from latadj.pruning.surgery import parameter_count, remaining_structure
from latadj.reporting.results.pruning import LayerLeft, PairedComparison, PrunedModel, Size
from latadj.utils.console import progress

log = logging.getLogger("latadj")


def save_pruned(
    model: PruningModel,
    clock: Clock | None,
    holdout: AcceptanceCriterion,
    judged: Evaluation,
    *,
    budget: float | None,
    recovered: bool,
) -> PrunedModel:
    """Confirm the model as it stands on texts that the search never saw, and save it.

    Parameters
    ----------
    clock : measures its speedup, where speed is the objective
    holdout : the criterion on those texts
    judged : evaluation on the texts that the search used
    recovered : whether the fine-tuning at the end was worth keeping
    """
    config, transformer = model.config, model.transformer
    confirmed = holdout(model.holdout.evaluate(transformer))
    low, high = confirmed.difference_ci
    log.info(
        "confirmed on %d other texts: %s %.4f, %+.4f (%+.4f to %+.4f) against the full model",
        *(len(model.holdout.examples), holdout.metric, confirmed.metric, confirmed.difference, low, high),
    )
    if holdout.clearly_worse(confirmed):
        log.warning(
            "the pruned model is clearly worse than prune.tolerance=%g allows on texts that the search never saw: "
            "%s %+.4f (%+.4f to %+.4f); take a milder budget, more prune.recover_epochs or more validation text",
            *(config.prune.tolerance, holdout.metric, confirmed.difference, low, high),
        )
    folder = config.output_at(budget)
    checkpoint.save(transformer, model.session.tokenizer, folder, _metadata(config, judged, confirmed, budget))
    measured = clock.speedup() if clock else None
    if measured and budget and measured.high < budget:
        log.warning(
            "prune.budget=%g was met by one clock, and another now says %.2fx (%.2f to %.2f): this machine is not "
            "steady; run again when it is quiet, or ask for a little more",
            *(budget, measured.median, measured.low, measured.high),
        )
    topk = topk_attention_of(transformer)
    return PrunedModel(
        budget=budget,
        folder=str(folder),
        validation=_compared(model.evaluator, judged),
        holdout=_compared(model.holdout, confirmed),
        size=size_of(model, folder),
        layers=[
            LayerLeft(list(layer.heads), layer.of_heads, len(layer.neurons), layer.of_neurons)
            for layer in remaining_structure(transformer)
        ],
        topk_attention=topk.to_json() if topk else None,
        recovered=recovered,
        measured_speedup=measured.median if measured else None,
        measured_ci=(measured.low, measured.high) if measured else None,
    )


def _compared(evaluator: PruningEvaluator, evaluation: Evaluation) -> PairedComparison:
    full_metric = evaluation.metric - evaluation.difference
    return PairedComparison.of(len(evaluator.examples), full_metric, evaluation)


def _metadata(
    config: PruneConfig, judged: Evaluation, confirmed: Evaluation, budget: float | None
) -> CheckpointMetadata:
    """The metadata of a pruned model, with the notes of the full one."""
    notes = {
        **read_metadata(Path(config.checkpoint)).notes,
        "pruned": {
            "objective": config.prune.objective,
            "budget": budget,
            "tolerance": config.prune.tolerance,
            "judged": judged.metric,
            "confirmed": confirmed.metric,
            "seed": config.seed,
        },
    }
    return CheckpointMetadata.of(config.task, None, notes)


def size_of(model: PruningModel, folder: Path) -> Size:
    """Size of the model as it stands, whose weights are in a folder."""
    every = sum(weight.numel() for weight in model.transformer.parameters())
    return Size(parameter_count(model.transformer), every, model.flops(), read_headers(folder).bytes)


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
