"""What comes out of `latadj prune`: a model that is confirmed, saved and weighed."""

import logging
from pathlib import Path

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, read_metadata
from latadj.checkpoints.weight_files import read_headers
from latadj.commands.prune.checks import output_of
from latadj.commands.prune.speed import Clock
from latadj.commands.prune.subject import PruneSubject
from latadj.config import PruneConfig
from latadj.elimination.attach import topk_attention_of
from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.size import parameters
from latadj.pruning.surgery import remaining_structure
from latadj.reporting.results.pruning import LayerLeft, PairedComparison, PrunedModel, Size

log = logging.getLogger("latadj")


def save_pruned(
    subject: PruneSubject,
    clock: Clock | None,
    confirm: AcceptanceCriterion,
    judged: Evaluation,
    *,
    budget: float | None,
    recovered: bool,
) -> PrunedModel:
    """Confirm the model as it stands on texts that the search never saw, and save it.

    Parameters
    ----------
    clock : measures its speedup, where speed is the objective
    judged : what was said of it on the texts that the search judged by
    recovered : whether the fine-tuning at the end was worth keeping
    """
    config, session = subject.config, subject.session
    confirmed = confirm(subject.confirming.sit(session.model))
    low, high = confirmed.difference_ci
    log.info(
        "confirmed on %d other texts: %s %.4f, %+.4f (%+.4f to %+.4f) against the full model",
        *(len(subject.examples.confirming), confirm.metric, confirmed.metric, confirmed.difference, low, high),
    )
    if confirm.clearly_worse(confirmed):
        log.warning(
            "the pruned model is clearly worse than prune.tolerance=%g allows on texts that the search never saw: "
            "%s %+.4f (%+.4f to %+.4f); take a milder budget, more prune.recover_epochs or more validation text",
            *(config.prune.tolerance, confirm.metric, confirmed.difference, low, high),
        )
    folder = output_of(config, budget)
    checkpoint.save(session.model, session.tokenizer, folder, _sidecar(config, judged, confirmed, budget))
    measured = clock.speedup() if clock else None
    if measured and budget and measured.high < budget:
        log.warning(
            "prune.budget=%g was met by one clock, and another now says %.2fx (%.2f to %.2f): this machine is not "
            "steady; run again when it is quiet, or ask for a little more",
            *(budget, measured.median, measured.low, measured.high),
        )
    hard = topk_attention_of(session.model)
    return PrunedModel(
        budget=budget,
        folder=str(folder),
        judged=PairedComparison.of(len(subject.examples.judging), judged.metric - judged.difference, judged),
        confirmed=PairedComparison.of(
            len(subject.examples.confirming), confirmed.metric - confirmed.difference, confirmed
        ),
        size=size_of(subject, folder),
        layers=[
            LayerLeft(list(left.heads), left.of_heads, len(left.neurons), left.of_neurons)
            for left in remaining_structure(session.model)
        ],
        topk_attention=hard.to_json() if hard else None,
        recovered=recovered,
        measured_speedup=measured.median if measured else None,
        measured_ci=(measured.low, measured.high) if measured else None,
    )


def _sidecar(
    config: PruneConfig, judged: Evaluation, confirmed: Evaluation, budget: float | None
) -> CheckpointMetadata:
    """What goes beside the weights; the run that the full model comes from stays known."""
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


def size_of(subject: PruneSubject, folder: Path) -> Size:
    """Size of the model as it stands, whose weights are in a folder."""
    model = subject.session.model
    return Size(
        parameters(model),
        sum(weight.numel() for weight in model.parameters()),
        subject.flops(),
        read_headers(folder).bytes,
    )
