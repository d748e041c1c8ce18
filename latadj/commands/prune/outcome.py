"""The results of `latadj prune`: models that are confirmed on held-out text, saved and measured."""

import logging
from pathlib import Path

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, read_metadata
from latadj.checkpoints.weight_files import read_headers
from latadj.commands.prune.checks import output_of
from latadj.commands.prune.pruning_model import PruningModel
from latadj.commands.prune.speed import Clock
from latadj.config import PruneConfig
from latadj.elimination.attach import topk_attention_of
from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.evaluator import PruningEvaluator
from latadj.pruning.surgery import parameter_count, remaining_structure
from latadj.reporting.results.pruning import LayerLeft, PairedComparison, PrunedModel, Size

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
    folder = output_of(config, budget)
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
        judged=_compared(model.evaluator, judged),
        confirmed=_compared(model.holdout, confirmed),
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
