"""The choice of top-k attention in `latadj prune`: after units were removed, before the rest is fine-tuned."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latadj.commands.prune.pruning_model import PruningModel
from latadj.elimination.attach import set_topk_attention
from latadj.elimination.topk_setting import TopK, TopKAttention
from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.surgery import remaining_structure
from latadj.pruning.topk_search import TopKTrial, choose_topk_attention
from latadj.utils.console import progress

log = logging.getLogger("latadj")


@dataclass
class ChosenTopK:
    """The chosen attention.

    layers : for each layer the keys that a query attends to, or their share; None: all
    trials : in the order in which they were made
    """

    layers: list[TopK]
    trials: list[TopKTrial]


def choose_topk(model: PruningModel, criterion: AcceptanceCriterion) -> ChosenTopK | None:
    """Let those layers attend to fewer keys in which that does not hurt; None where no option asks for it."""
    ks = _from_many_to_few(model.config.topk_attention.ks(), model.evaluator.lengths)
    if not ks:
        return None
    structures = remaining_structure(model.transformer)
    attending = [layer for layer, structure in enumerate(structures) if structure.heads]

    def evaluate(topk: TopKAttention) -> Evaluation:
        set_topk_attention(model.transformer, topk)
        return criterion(model.evaluate())

    with progress("top-k attention", len(attending) * len(ks)) as steps:
        choice = choose_topk_attention(
            *(len(structures), ks, evaluate),
            accepts=lambda before, after: after.passes and after.metric >= before.metric,
            metric=lambda evaluation: evaluation.metric,
            among=attending,
            advance=steps.advance,
        )
    for trial in choice.trials:
        log.info(
            "layer %d attends to %g%s: %s %.4f -> %.4f, %s",
            *(trial.layer + 1, trial.k, " of the keys" if isinstance(trial.k, float) else " keys", criterion.metric),
            *(trial.metric_before, trial.metric_after, "taken" if trial.kept else "left"),
        )
    chosen = ChosenTopK(choice.topk.to_json(), list(choice.trials))
    set_chosen_topk(model, chosen)
    return chosen


def set_chosen_topk(model: PruningModel, chosen: ChosenTopK) -> None:
    """Give the model the chosen attention."""
    topk = TopKAttention.from_json(chosen.layers)
    log.info("top-k attention: %s", topk.text() or "in no layer")
    set_topk_attention(model.transformer, topk)


def _from_many_to_few(ks: Sequence[int | float], lengths: np.ndarray) -> list[int | float]:
    """In the order of the keys that they leave to a text of mean length, without those that select in no text."""
    longest = int(lengths.max())
    for k in ks:
        if isinstance(k, int) and k >= longest:
            log.warning("topk_attention.k=%d is left out: no text that judges has more than %d tokens", k, longest)
    selecting = [k for k in ks if isinstance(k, float) or k < longest]
    return sorted(selecting, key=lambda k: k * float(lengths.mean()) if isinstance(k, float) else k, reverse=True)
