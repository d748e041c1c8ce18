"""Keys of an earlier version, and what they are called now."""

from collections.abc import Iterable
from typing import Any

# Of stages with a teacher.
TAUGHT = ("adjust", "recover")
OF_TAUGHT = {
    "average": "ema_decay",
    "thinned": "word_dropout_copies",
    "task_weight": "task_loss_weight",
    "distill_weight": "distillation_loss_weight",
}
# Old key -> new key.
RENAMED = {
    "family": "profile",
    "calibration.family": "calibration.profile",
    "calibration.queries": "calibration.window_size",
    "calibration.sinks": "calibration.sink_tokens",
    "calibration.recent": "calibration.recent_ratio",
    "calibration.smooth": "calibration.kernel_size",
    "adjust.families": "adjust.profiles",
    "adjust.skew": "adjust.speedup_sampling_power",
    "prune.confirm": "prune.holdout_fraction",
    "prune.loss_rise": "prune.max_loss_increase",
    "contestants": "backends",
    "hard_attention": "topk_attention",
    "hard_attention.k": "topk_attention.k",
    "task.kind": "task.type",
    "task.protect_question": "task.protect_query",
    "plain.average": "plain.ema_decay",
    **{f"{stage}.{old}": f"{stage}.{new}" for stage in TAUGHT for old, new in OF_TAUGHT.items()},
}


def refuse_old_keys(keys: Iterable[str]) -> None:
    """Refuse keys of an earlier version.

    Raises
    ------
    ValueError
        with the new name of each.
    """
    renamed = [f"{key}= is now {RENAMED[key]}=" for key in dict.fromkeys(keys) if key in RENAMED]
    if renamed:
        raise ValueError("; ".join(renamed))


def keys_of(overrides: Iterable[str]) -> list[str]:
    """The keys of Hydra overrides, without ``+``, ``++`` and ``~``."""
    return [override.partition("=")[0].lstrip("+~") for override in overrides]


def dotted(values: Any, prefix: str = "") -> list[str]:
    """The keys of nested dictionaries, sections and options."""
    keys = []
    for key, value in values.items():
        keys.append(f"{prefix}{key}")
        keys += dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else []
    return keys
