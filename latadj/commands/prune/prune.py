"""latadj prune: take out of a fine-tuned model what its task does not need, and fine-tune what is left."""

import logging
from pathlib import Path

import numpy as np

from latadj.commands.common.session import as_dict, open_checkpoint
from latadj.commands.common.teacher_checks import check_teacher
from latadj.commands.common.training_stages import say_replaced, teacher
from latadj.commands.prune.checks import check_to_prune, outputs_of
from latadj.commands.prune.outcome import size_of
from latadj.commands.prune.speed import Clock
from latadj.commands.prune.state import PruneState
from latadj.commands.prune.steps import Pruning, by_accuracy, to_budgets
from latadj.commands.prune.subject import PruneSubject, split
from latadj.config import PruneConfig
from latadj.config.pruning_options import budgets_of
from latadj.devices.environment import environment
from latadj.pruning.acceptance import AcceptanceCriterion
from latadj.pruning.budgets import LatencyBudget, ParameterBudget, Structured
from latadj.pruning.size import parameters
from latadj.pruning.units import check_units, units_of
from latadj.reporting.output import show, write
from latadj.reporting.results.pruning import PruneResult

log = logging.getLogger("latadj")


def prepare(config: PruneConfig) -> Pruning:
    """Load the checkpoint and examples, find out what can go, and refuse a budget that cannot be met."""
    check_to_prune(config)
    session = open_checkpoint(config)
    state = PruneState.of(config, session.splits)
    config = session.config  # type: ignore[assignment]  # with the labels that the examples have
    check_teacher(config)
    teacher(session)
    options = config.prune
    check_units(session.model, options.groups, options.layers, prefix="prune.")
    subject = PruneSubject.of(session, split(session), Path(config.folder) / "prune")
    if not state.parts:
        ranks = subject.gradients().neurons
        state.parts = units_of(session.model, options.groups, ranks, layers=options.layers)
    subject.parts = state.parts
    subject.weigh()
    pruning = Pruning(config, subject, state)
    if config.prune.objective == "size":
        _within_reach(pruning)
        pruning.purse = ParameterBudget(session.model, subject.costs)
    elif config.prune.objective == "speed":
        pruning.clock = clock = Clock(subject)
        state.times = state.times or clock.fit()
        _within_reach(pruning)
        lengths = subject.judging.lengths
        pruning.purse = LatencyBudget(
            session.model, subject.costs, lengths, state.times, lambda: clock.speedup().median, state.correction
        )
    return pruning


def run(pruning: Pruning) -> PruneResult:
    """Prune; ``output`` holds the pruned model, or there is a folder for each of several budgets.

    Returns
    -------
    what ``prune/prune.json`` holds
    """
    config, subject, state, work = pruning.config, pruning.subject, pruning.state, pruning.work
    session = subject.session
    if not (config.resume and (work / "state.json").is_file()):
        say_replaced(outputs_of(config))
        state.start(work)
    judge, confirm = _judges(subject)
    full = size_of(subject, Path(config.checkpoint))
    log.info(
        "full model: %s %.4f on %d texts that judge, %.4f on %d that confirm",
        *(config.task.metric, judge.own.metric, len(subject.examples.judging)),
        *(confirm.own.metric, len(subject.examples.confirming)),
    )
    _warn_of_one_answer(judge)
    budgets = budgets_of(config)
    if len(state.models) < max(len(budgets), 1):
        if subject.epochs(last=True) > 0 and (budgets or state.steps.step < config.prune.rounds):
            subject.learn()
        if budgets:
            to_budgets(pruning, judge, confirm, budgets)
        else:
            by_accuracy(pruning, judge, confirm)
    result = PruneResult(
        model=config.model.name,
        task=config.task.name,
        metric=config.task.metric,
        objective=config.prune.objective,
        tolerance=config.prune.tolerance,
        candidates=state.steps.candidates,
        frontier=state.models,
        hard_trials=state.hard.trials if state.hard else [],
        full=full,
        seconds=round(state.seconds, 1),
        environment=environment(session.device, ", ".join(_precisions(subject))),
        config=as_dict(config),
    )
    written = write(result, work)
    state.clean(work)
    show(result)
    log.info("wrote %s to %s", written, work)
    return result


def _judges(subject: PruneSubject) -> tuple[AcceptanceCriterion, AcceptanceCriterion]:
    """Of the two parts of the validation split, by what the model, still whole, says of them."""
    config, model = subject.config, subject.session.model
    judge, confirm = (
        AcceptanceCriterion(
            config.task.metric,
            exam.references,
            exam.sit(model),
            tolerance=config.prune.tolerance,
            confidence=config.prune.confidence,
            max_loss_increase=config.prune.max_loss_increase,
            seed=config.seed,
        )
        for exam in (subject.judging, subject.confirming)
    )
    return judge, confirm


def _warn_of_one_answer(judge: AcceptanceCriterion) -> None:
    """Say that a full model which does not tell texts apart cannot show what its parts are worth."""
    answers = judge.full.predictions
    if isinstance(answers, np.ndarray) and answers.ndim == 1 and len(answers) > 1 and (answers == answers[0]).all():
        log.warning(
            "the full model gives the same answer to all %d texts that judge, so that it seems to need none of its "
            "parts: train it for longer first",
            len(answers),
        )


def _precisions(subject: PruneSubject) -> list[str]:
    """In which models ran: those that were judged, the saved ones that were confirmed, and those before a clock."""
    judged = "fp32" if subject.judging.autocast is None else "bf16 autocast"
    clock = [subject.config.device.precision] if subject.config.prune.objective == "speed" else []
    return list(dict.fromkeys([judged, "fp32", *clock]))


def _within_reach(pruning: Pruning) -> None:
    """Refuse a budget that is not met even if all that can go is gone."""
    config, subject, model = pruning.config, pruning.subject, pruning.subject.session.model
    size = parameters(model)
    with subject.without(subject.parts):
        least = parameters(model) / size
        fastest = None
        if pruning.state.times is not None:
            fastest = 1 / max(pruning.state.times.time(Structured.of(model, subject.judging.lengths)), 1e-9)
    for budget in budgets_of(config):
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
