"""latadj prune: remove from a fine-tuned model what its task does not need, and fine-tune the rest."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np

from latadj.commands.common.session import open_checkpoint
from latadj.commands.common.training_checks import check_teacher
from latadj.commands.common.training_stages import say_replaced, teacher
from latadj.commands.prune.checks import check_to_prune
from latadj.commands.prune.pruning_model import PruningModel
from latadj.commands.prune.speed import Clock
from latadj.commands.prune.state import PruneState
from latadj.commands.prune.steps import Pruning, by_accuracy, size_of, to_budgets
from latadj.config import PruneConfig
from latadj.devices.environment import environment
from latadj.pruning.acceptance import AcceptanceCriterion
from latadj.pruning.budgets import LatencyBudget, LatencyFeatures, ParameterBudget
from latadj.pruning.evaluator import PruningEvaluator
from latadj.pruning.surgery import parameter_count
from latadj.pruning.units import check_units, units_of
from latadj.reporting.results.pruning import PruneResult

log = logging.getLogger("latadj")


def prepare(config: PruneConfig) -> Pruning:
    """Load the checkpoint and examples, find the units, and refuse a budget that cannot be met."""
    check_to_prune(config)
    session = open_checkpoint(config)
    state = PruneState.of(config, session.splits)
    config = session.config  # type: ignore[assignment]  # with the labels that the examples have
    check_teacher(config)
    teacher(session)
    options = config.prune
    check_units(session.model, options.groups, options.layers, prefix="prune.")
    model = PruningModel.of(session, Path(config.folder) / "prune")
    if state.units:
        state.refuse_other_units(
            Path(config.folder) / "prune", units_of(session.model, options.groups, layers=options.layers)
        )
    else:
        ranks = model.gradients().neurons
        state.units = units_of(session.model, options.groups, ranks, layers=options.layers)
    model.units = state.units
    model.measure_costs()
    pruning = Pruning(config, model, state)
    if config.prune.objective == "size":
        _refuse_out_of_reach(pruning)
        pruning.budget = ParameterBudget(session.model, model.costs)
    elif config.prune.objective == "speed":
        pruning.clock = clock = Clock(model)
        state.time_model = state.time_model or clock.fit()
        _refuse_out_of_reach(pruning)
        lengths, time_model = model.evaluator.lengths, state.time_model
        pruning.budget = LatencyBudget(
            session.model, model.costs, lengths, time_model, lambda: clock.speedup().median, state.correction
        )
    return pruning


def run(pruning: Pruning) -> PruneResult:
    """Prune; ``output`` holds the pruned model, or there is a folder for each of several budgets.

    Returns
    -------
    what ``prune/prune.json`` holds
    """
    config, model, state, work = pruning.config, pruning.model, pruning.state, pruning.work
    if not (config.resume and (work / "state.json").is_file()):
        say_replaced(config.outputs())
        state.start(work)
    criterion, holdout = _criterion(model, model.evaluator), _criterion(model, model.holdout)
    full = size_of(model, Path(config.checkpoint))
    log.info(
        "full model: %s %.4f on %d validation texts, %.4f on %d held out",
        *(config.task.metric, criterion.full_score.metric, len(model.evaluator.examples)),
        *(holdout.full_score.metric, len(model.holdout.examples)),
    )
    _warn_of_one_answer(criterion)
    targets = config.prune.budgets()
    if len(state.models) < max(len(targets), 1):
        if model.epochs(last=True) > 0 and (targets or state.progress.step < config.prune.rounds):
            model.prepare_distillation()
        if targets:
            to_budgets(pruning, criterion, holdout, targets)
        else:
            by_accuracy(pruning, criterion, holdout)
    result = PruneResult(
        model=config.model.name,
        task=config.task.name,
        metric=config.task.metric,
        objective=config.prune.objective,
        tolerance=config.prune.tolerance,
        candidates=state.progress.candidates,
        frontier=state.models,
        topk_trials=state.topk.trials if state.topk else [],
        full=full,
        seconds=round(state.seconds, 1),
        environment=environment(model.session.device, ", ".join(_precisions(model))),
        config=asdict(config),
    )
    result.report(work)
    state.clean(work)
    return result


def _criterion(model: PruningModel, evaluator: PruningEvaluator) -> AcceptanceCriterion:
    """Compares with the model, still whole, on the texts of an evaluator."""
    config = model.config
    return AcceptanceCriterion(
        *(config.task.metric, evaluator.references, evaluator.evaluate(model.transformer)),
        tolerance=config.prune.tolerance,
        confidence=config.prune.confidence,
        max_loss_increase=config.prune.max_loss_increase,
        seed=config.seed,
    )


def _warn_of_one_answer(criterion: AcceptanceCriterion) -> None:
    """Warn of a full model that gives every text the same answer, so that no unit seems to matter."""
    answers = criterion.full.predictions
    if isinstance(answers, np.ndarray) and answers.ndim == 1 and len(answers) > 1 and (answers == answers[0]).all():
        log.warning(
            "the full model gives the same answer to all %d validation texts, so that it seems to need none of its "
            "parts: train it for longer first",
            len(answers),
        )


def _precisions(model: PruningModel) -> list[str]:
    """In which models ran: those of the search, the saved ones that were confirmed, and those that were timed."""
    searched = "fp32" if model.evaluator.autocast is None else "bf16 autocast"
    timed = [model.config.device.precision] if model.config.prune.objective == "speed" else []
    return list(dict.fromkeys([searched, "fp32", *timed]))


def _refuse_out_of_reach(pruning: Pruning) -> None:
    """Refuse a budget that is not met even without any unit.

    Raises
    ------
    ValueError
    """
    config, model, times = pruning.config, pruning.model, pruning.state.time_model
    size = parameter_count(model.transformer)
    with model.without(model.units):
        least = parameter_count(model.transformer) / size
        fastest = None
        if times is not None:
            features = LatencyFeatures.of(model.transformer, model.evaluator.lengths)
            fastest = 1 / max(times.time(features), 1e-9)
    for budget in config.prune.budgets():
        if fastest is None and budget <= least:
            raise ValueError(
                f"prune.budget={budget:g}: what is neither attention nor feed-forward of a layer that can be pruned is "
                f"{least:.3f} of the parameters outside the embeddings, and stays: take a budget above {least:.3f}"
            )
        if fastest is not None and budget >= fastest:
            raise ValueError(
                f"prune.budget={budget:g}: without any of the layers that can be pruned this model would be "
                f"{fastest:.1f} times as fast here: take a speedup below that"
            )
