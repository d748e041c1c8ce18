"""What the options of `latadj prune` may be; imports neither torch nor transformers."""

from typing import Any

from latadj.config import PruneConfig
from latadj.config.training_options import distillation_problems, stage_problems
from latadj.elimination.topk.setting import check_topk

OBJECTIVES = ("accuracy", "size", "speed")
# What a budget is, by objective, and what it may be.
BUDGETS = {
    "size": "the share of the parameters outside the embeddings that may stay, above 0 and below 1, such as 0.5",
    "speed": "the measured speedup wanted, above 1, such as 1.8",
}


def budgets_of(config: PruneConfig) -> list[float]:
    """The budgets of a run, the mildest first; none where accuracy is the objective.

    Raises
    ------
    ValueError
        if one is no number, or not what the objective takes.
    """
    objective, given = config.prune.objective, config.prune.budget
    if objective == "accuracy":
        if given is not None:
            raise ValueError(f"prune.budget={given}: prune.objective=accuracy takes none; take size or speed with it")
        return []
    wanted = BUDGETS[objective]
    if given is None:
        raise ValueError(f"prune.objective={objective} needs prune.budget=: {wanted}, or a list of them")
    values: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    try:
        found = [float("nan" if isinstance(value, bool) else value) for value in values]
    except (TypeError, ValueError):
        found = []
    low, high = (0.0, 1.0) if objective == "size" else (1.0, float("inf"))
    each_once = len({f"{value:g}" for value in found}) == len(found)  # as they name the folders of models
    if not found or not all(low < value < high for value in found) or not each_once:
        raise ValueError(f"prune.budget={_shown(given)}: expected {wanted}, or a list of them, each once")
    return sorted(found, reverse=objective == "size")


def topk_options(config: PruneConfig) -> list[int | float]:
    """The numbers of keys, or their shares, that are tried in each layer.

    Raises
    ------
    ValueError
        if one is neither or all of them, or the objective is not accuracy.
    """
    given = config.topk_attention.k
    if given is None:
        return []
    if config.prune.objective != "accuracy":
        raise ValueError(
            f"topk_attention.k={_shown(given)}: prune.objective={config.prune.objective} chooses no hard attention, "
            "which saves nothing; take accuracy with it"
        )
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if not values or len(set(map(str, values))) < len(values):
        raise ValueError(f"topk_attention.k={_shown(given)}: expected numbers of keys, or their shares, each once")
    for value in values:
        check_topk(value, f"topk_attention.k={_shown(given)}")
        if isinstance(value, float) and value == 1:
            raise ValueError(
                f"topk_attention.k={_shown(given)}, k=1.0: all keys are no selection; expected a share below 1"
            )
    return values


def _shown(given: Any) -> str:
    """A value as it was given on the command line."""
    return "[" + ",".join(map(str, given)) + "]" if isinstance(given, (list, tuple)) else str(given)


def prune_problems(config: PruneConfig) -> list[str]:
    """Values that cannot be worked with."""
    options, recover, problems = config.prune, config.recover, []
    if options.objective in OBJECTIVES:
        for read in (budgets_of, topk_options):
            try:
                read(config)
            except ValueError as error:
                problems.append(str(error))
    else:
        problems.append(f"prune.objective={options.objective}: expected one of {', '.join(OBJECTIVES)}")
    if options.objective == "speed" and config.device.precision == "auto":
        problems.append("device.precision=auto: prune.objective=speed goes by one clock; name fp32, bf16 or int8")
    if options.rounds > 1 and options.objective in ("size", "speed"):
        problems.append(
            f"prune.rounds={options.rounds}: prune.objective={options.objective} goes on until its budget is met; "
            "rounds are of prune.objective=accuracy"
        )
    if not 0 <= options.tolerance < 1:
        problems.append(
            f"prune.tolerance={options.tolerance}: expected 0 (nothing that hurts goes) or a little more, as a "
            "fraction of 1, such as 0.01 for one point"
        )
    for key in ("confidence", "holdout_fraction", "step"):
        value = getattr(options, key)
        if not 0 < value < 1:
            problems.append(f"prune.{key}={value}: expected a number above 0 and below 1")
    if options.layers is not None and (not options.layers or min(options.layers) < 1):
        problems.append(
            f"prune.layers={_shown(options.layers)}: expected numbers of layers, the first being 1, or null"
        )
    for key in ("groups", "examples", "gradient_examples", "rounds"):
        value = getattr(options, key)
        if value is not None and value < 1:
            problems.append(f"prune.{key}={value}: expected at least 1")
    for key in ("max_loss_increase", "step_epochs", "recover_epochs"):
        value = getattr(options, key)
        if not value >= 0:
            problems.append(f"prune.{key}={value}: expected 0 (none) or more")
    problems += stage_problems("recover", recover, ("batch_size", "learning_rate"))
    problems += distillation_problems("recover", recover, config.task.type)
    if recover.task_loss_weight == recover.distillation_loss_weight == 0:
        problems.append(
            "recover.task_loss_weight=0 with recover.distillation_loss_weight=0: there is nothing to learn from"
        )
    return problems
