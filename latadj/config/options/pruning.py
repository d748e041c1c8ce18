"""What `latadj prune` may take out of a model, and by which criterion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from latadj.config.fields import FRACTION, NONE_OR_MORE, Rule, Section, as_list, at_least, one_of, option, shown
from latadj.elimination.topk_setting import check_topk

# What a budget is, by objective, and what it may be.
BUDGETS = {
    "size": "the share of the parameters outside the embeddings that may stay, above 0 and below 1, such as 0.5",
    "speed": "the measured speedup wanted, above 1, such as 1.8",
}
OBJECTIVES = ("accuracy", *BUDGETS)
TOLERANCE = Rule(
    "0 (nothing that hurts goes) or a little more, as a fraction of 1, such as 0.01 for one point",
    lambda value: 0 <= value < 1,
)


@dataclass
class PruneOptions(Section):
    """What is pruned, and by which criterion."""

    objective: str = option(
        "accuracy", "accuracy: prune all that does not hurt; size, speed: down to prune.budget", one_of(*OBJECTIVES)
    )
    budget: Any = option(
        None,
        "size: share of the non-embedding parameters that stays; speed: measured speedup; a list makes one model each",
        type="number or list of numbers",
    )
    tolerance: float = option(
        0.0, "how far the validation metric may fall, as a fraction of 1; size, speed: only warns", TOLERANCE
    )
    confidence: float = option(0.9, "confidence level of the intervals that confirm the result", FRACTION)
    max_loss_increase: float = option(
        0.1, "accuracy: fraction by which the loss may rise where the metric holds", NONE_OR_MORE
    )
    layers: list[int] | None = option(None, "layers to prune, counted from 1; null: all", parse=as_list)
    groups: int = option(8, "groups of feed-forward neurons in each layer", at_least(1))
    holdout_fraction: float = option(
        0.4, "share of the validation split that the search never sees and that confirms its result", FRACTION
    )
    examples: int | None = option(
        None, "validation examples that rank candidates; null: 256, fewer if long", at_least(1)
    )
    gradient_examples: int | None = option(
        None, "training examples for the gradients that rank units; null: 512, fewer if long", at_least(1)
    )
    step: float = option(0.08, "size, speed: share of the cost that is pruned between two recoveries", FRACTION)
    step_epochs: float = option(0.25, "size, speed: epochs of each recovery between steps", NONE_OR_MORE)
    rounds: int = option(1, "accuracy: most searches, each after the recovery from the one before", at_least(1))
    recover_epochs: float = option(
        2.0, "epochs of the last recovery; at a budget at least prune.step_epochs", NONE_OR_MORE
    )

    def budgets(self) -> list[float]:
        """The budgets of a run, the mildest first; none where accuracy is the objective.

        Raises
        ------
        ValueError
            if one is no number, or not what the objective takes.
        """
        objective, budget = self.objective, self.budget
        if objective == "accuracy":
            if budget is not None:
                raise ValueError(f"budget={budget}: prune.objective=accuracy takes none; take size or speed with it")
            return []
        expected = BUDGETS[objective]
        if budget is None:
            raise ValueError(f"objective={objective} needs prune.budget=: {expected}, or a list of them")
        try:
            budgets = [float("nan" if isinstance(value, bool) else value) for value in as_list(budget)]
        except (TypeError, ValueError):
            budgets = []
        low, high = (0.0, 1.0) if objective == "size" else (1.0, float("inf"))
        each_once = len({f"{value:g}" for value in budgets}) == len(budgets)  # as they name the folders of models
        if not budgets or not all(low < value < high for value in budgets) or not each_once:
            raise ValueError(f"budget={shown(budget)}: expected {expected}, or a list of them, each once")
        return sorted(budgets, reverse=objective == "size")

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.objective in OBJECTIVES:
            problems += _refusal(self.budgets)
        if self.rounds > 1 and self.objective in BUDGETS:
            problems.append(
                f"rounds={self.rounds}: prune.objective={self.objective} goes on until its budget is met; "
                "rounds are of prune.objective=accuracy"
            )
        if self.layers is not None and (not self.layers or min(self.layers) < 1):
            problems.append(f"layers={shown(self.layers)}: expected numbers of layers, the first being 1, or null")
        return problems


@dataclass
class TopKAttentionOptions(Section):
    """Which top-k attention is tried; it makes no pass faster."""

    k: Any = option(
        None,
        "accuracy: keys a query attends to, or their share, tried in each layer, such as [0.5,0.25,8]; null: none",
        type="number or list of numbers",
    )

    def ks(self) -> list[int | float]:
        """The numbers of keys, or their shares, that are tried in each layer.

        Raises
        ------
        ValueError
            if one is neither, or all of them.
        """
        values, written = as_list(self.k), f"k={shown(self.k)}"
        if values is None:
            return []
        if not values or len(set(map(str, values))) < len(values):
            raise ValueError(f"{written}: expected numbers of keys, or their shares, each once")
        for value in values:
            check_topk(value, written)
            if isinstance(value, float) and value == 1:
                raise ValueError(f"{written}, k=1.0: all keys are no selection; expected a share below 1")
        return list(values)

    def problems(self) -> list[str]:
        return [*super().problems(), *_refusal(self.ks)]

    def problems_for(self, objective: str) -> list[str]:
        """What is wrong with it for an objective of pruning."""
        if self.k is None or objective == "accuracy":
            return []
        return [
            f"k={shown(self.k)}: prune.objective={objective} chooses no top-k attention, "
            "which saves nothing; take accuracy with it"
        ]


def _refusal(read: Callable[[], object]) -> list[str]:
    try:
        read()
    except ValueError as error:
        return [str(error)]
    return []
