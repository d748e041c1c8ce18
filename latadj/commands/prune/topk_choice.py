"""The choice of hard attention in `latadj prune`: after parts went, before what is left is fine-tuned."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latadj.commands.prune.subject import PruneSubject
from latadj.config.pruning_options import topk_options
from latadj.elimination.attach import set_topk_attention
from latadj.elimination.topk.setting import TopK, TopKAttention
from latadj.pruning.acceptance import AcceptanceCriterion, Evaluation
from latadj.pruning.surgery import remaining_structure
from latadj.pruning.topk_search import TopKTrial, choose_topk_attention
from latadj.utils.console import progress

log = logging.getLogger("latadj")


@dataclass
class ChosenTopK:
    """What was chosen.

    layers : for each layer the keys that a query attends to, or their share; None: all
    trials : in the order in which they were made
    """

    layers: list[TopK]
    trials: list[TopKTrial]


def choose_hard(subject: PruneSubject, judge: AcceptanceCriterion) -> ChosenTopK | None:
    """Let those layers attend to fewer keys in which that does not hurt.

    Returns
    -------
    what is chosen; None where the run asks for nothing
    """
    model, lengths = subject.session.model, subject.judging.lengths
    ks = _from_many_to_few(topk_options(subject.config), lengths)
    if not ks:
        return None
    attending = [layer for layer, left in enumerate(remaining_structure(model)) if left.heads]

    def evaluate(hard: TopKAttention) -> Evaluation:
        set_topk_attention(model, hard)
        return judge(subject.ask())

    with progress("hard attention", len(attending) * len(ks)) as steps:
        choice = choose_topk_attention(
            len(remaining_structure(model)),
            ks,
            evaluate,
            judge=lambda before, after: after.passes and after.metric >= before.metric,
            metric=lambda verdict: verdict.metric,
            among=attending,
            advance=steps.advance,
        )
    for trial in choice.trials:
        log.info(
            "layer %d attends to %g%s: %s %.4f -> %.4f, %s",
            *(trial.layer + 1, trial.k, " of the keys" if isinstance(trial.k, float) else " keys", judge.metric),
            *(trial.metric_before, trial.metric_after, "taken" if trial.kept else "left"),
        )
    found = ChosenTopK(choice.hard.to_json(), list(choice.trials))
    put_on(subject, found)
    return found


def put_on(subject: PruneSubject, found: ChosenTopK) -> None:
    """Let the model attend as was chosen."""
    hard = TopKAttention.from_json(found.layers)
    log.info("hard attention: %s", hard.text() or "in no layer")
    set_topk_attention(subject.session.model, hard)


def _from_many_to_few(ks: Sequence[int | float], lengths: np.ndarray) -> list[int | float]:
    """In the order of the keys that they leave to a text of mean length, without those that select in no text."""
    longest = int(lengths.max())
    for k in ks:
        if isinstance(k, int) and k >= longest:
            log.warning("topk_attention.k=%d is left out: no text that judges has more than %d tokens", k, longest)
    found = [k for k in ks if isinstance(k, float) or k < longest]
    return sorted(found, key=lambda k: k * float(lengths.mean()) if isinstance(k, float) else k, reverse=True)
