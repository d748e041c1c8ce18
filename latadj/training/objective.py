"""Training objectives: how batches are made, their loss, the metric of validation, and profiles to train with."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from latadj.config import AdjustConfig
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import at_level, level_gain, levels_of
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.tasks.encoding.batches import Batch

Loss = Callable[[Any, Batch], Tensor]
MIN_SPEEDUP = 1.1


@dataclass(frozen=True)
class TrainingObjective:
    """A task, as a Trainer needs it.

    metric : name of what ``score`` gives
    score : the metric of a model on the validation split, at its current speedup
    collate : rows of the training set -> batch
    loss : (model, batch) -> scalar; the model's own when left out
    greater_is_better : otherwise the metric is a perplexity
    """

    metric: str
    score: Callable[[PreTrainedModel], float]
    collate: Callable[[list[dict[str, Any]]], Batch]
    loss: Loss | None = None
    greater_is_better: bool = True

    def mean_score(self, scores: Iterable[float]) -> float:
        """One score for several speedups."""
        # Perplexities are ratios: the largest must not outweigh all the others.
        return fmean(scores) if self.greater_is_better else geometric_mean(scores)


class ProfileSampler:
    """The full model, and profiles at speedups drawn anew for each batch.

    Where width is trained too, a level is drawn among those that do not exceed the speedup, and tokens give the rest.
    Python's random state decides, which Trainer saves and restores.
    """

    def __init__(self, dial: Dial, config: AdjustConfig) -> None:
        self.config = config
        self.dials = [dial.with_profile_type(profile_type) for profile_type in config.profiles]
        self.full = Profile.full(dial.layers)
        self.levels: list[Level | None] = [None] if "tokens" in config.axes else []
        if config.narrows:
            self.levels += levels_of(dial, dial.widths)

    def passes(self) -> list[Profile]:
        """The full model and a sampled profile; where ``full_share`` is given, only one of them."""
        share = self.config.full_share
        if share is None:
            return [self.full, self.draw()]
        return [self.full if random.random() < share else self.draw()]

    def draw(self) -> Profile:
        """A profile of a random type at a random speedup, at most the largest that this type reaches."""
        # Small speedups are used most and drawn more often. In steps of 0.1, so that a profile is solved for once and
        # then cached.
        power, largest = self.config.speedup_sampling_power, self.config.max_speedup
        speedup = round(MIN_SPEEDUP + (largest - MIN_SPEEDUP) * random.random() ** power, 1)
        dial = random.choice(self.dials)
        level = self.levels[0]
        if len(self.levels) > 1:
            level = random.choice([one for one in self.levels if level_gain(dial, one) <= speedup] or self.levels[:1])
        if "tokens" not in self.config.axes:
            return replace(self.full, level=level)
        return at_level(dial, level, speedup)


def unwrapped(model: Any) -> Any:
    """The model without the wrapper that distributed training puts around it."""
    return getattr(model, "module", model)
